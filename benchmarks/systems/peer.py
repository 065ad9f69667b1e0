"""A peer in an environment of its own: what all of them share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from benchmarks import processes
from benchmarks.environments import Environment, PythonEnvironment
from benchmarks.ground import Ground

REDIS_URL, DATABASE_URL = "BENCH_REDIS_URL", "BENCH_DATABASE_URL"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Name, package, and where its records are."""

    name: str
    package: str
    environment: Environment
    needs_postgres: bool = False
    """Then its tasks are rows there."""
    is_python: bool = True
    is_ours = False
    is_slow = False

    @property
    def keeps_records(self) -> bool:
        """Whether a task is a row."""
        return self.needs_postgres

    @property
    def version(self) -> str:
        """Of the package in its environment."""
        return self.environment.version(self.package)

    def redis(self, ground: Ground) -> "Redis":
        """The server without persistence; one that needs no Redis leaves it empty."""
        return ground.redis(False)

    def stage(self, ground: Ground) -> Mapping[str, str]:
        """The addresses; a copy of the prepared database where one is needed."""
        variables = self._variables(ground)
        if not self.needs_postgres:
            return variables
        template = ground.once(self._template)
        return variables | {DATABASE_URL: ground.postgres().create("bench", template)}

    def producer(self) -> list[str]:
        """What submits."""
        raise NotImplementedError

    def worker(self) -> list[str]:
        """What its documentation starts a worker with."""
        raise NotImplementedError

    def idle(self) -> list[str]:
        """The same code, loaded and at rest."""
        raise NotImplementedError

    def _variables(self, ground: Ground) -> dict[str, str]:
        path = self.redis(ground).connection_pool.connection_kwargs["path"]
        return {REDIS_URL: f"unix://{path}"}

    def _template(self, ground: Ground) -> str:
        """The name of a database with its tables, made once in a run."""
        name = "peer_" + "".join(letter for letter in self.name.lower() if letter.isalpha())
        variables = self._variables(ground) | {DATABASE_URL: ground.postgres().create(name)}
        processes.run([*self.producer(), "prepare"], variables, ground.home / "prepare.log")
        return name


@dataclass(frozen=True, kw_only=True)
class PythonPeer(Peer):
    """One with an app in `benchmarks.peers`."""

    environment: PythonEnvironment
    app: str
    starts: tuple[str, ...]
    """Arguments of its interpreter that start a worker."""
    loads: str
    """Modules that a worker has loaded, for the idle process."""

    def producer(self) -> list[str]:
        """The app's producer."""
        return self._python("-m", "benchmarks.peers", self.app)

    def worker(self) -> list[str]:
        """With its own command where it has one."""
        return self._python(*self.starts)

    def idle(self) -> list[str]:
        """App and worker's modules loaded."""
        modules = f"benchmarks.peers.{self.app}, {self.loads}, signal"
        return self._python("-c", f"import {modules}; signal.pause()")

    def _python(self, *arguments: str) -> list[str]:
        return [str(self.environment.python), *arguments]


def python_peer(name: str, package: str, needs: tuple[str, ...], **options: Any) -> PythonPeer:
    """A peer whose environment bears the name of its package."""
    environment = PythonEnvironment(package, needs)
    return PythonPeer(name=name, package=package, environment=environment, **options)
