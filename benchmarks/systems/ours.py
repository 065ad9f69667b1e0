"""This package, as a host project runs it: `manage.py rqworker architect` with 50 slots."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

import plugspace_queue
from benchmarks import processes
from benchmarks.ground import Ground
from benchmarks.processes import ROOT

IDLE = "import sys; sys.path[0] = {home!r}; import django, signal; django.setup(); signal.pause()"


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A copy of the repository, and the interpreter that has its requirements."""

    home: Path = ROOT
    python: str = sys.executable
    revision: str = ""
    """Of an earlier state that is compared with; empty for this checkout."""

    def manage(self, *arguments: str) -> list[str]:
        """A command of its demo project."""
        return [self.python, str(self.home / "manage.py"), *arguments]

    def postgres_template(self, ground: Ground) -> str:
        """The name of a migrated database, made once in a run."""
        name = f"bench_template_{self.revision}"
        self._prepare(ground, ground.postgres().create(name))
        return name

    def sqlite_template(self, ground: Ground) -> Path:
        """The file of a migrated database, made once in a run."""
        path = ground.home / f"template{self.revision}.sqlite3"
        self._prepare(ground, f"sqlite:///{path}")
        return path

    def _prepare(self, ground: Ground, url: str) -> None:
        log = ground.home / "prepare.log"
        processes.run(self.manage("bench_prepare"), _environment(ground.redis(False), url), log)


HERE = Checkout()


@dataclass(frozen=True, kw_only=True)
class Ours:
    """One combination of database, kind of processor, gates and persistence of Redis."""

    database: str = "PostgreSQL"
    style: str = "threads"
    has_gates: bool = False
    keeps: bool = False
    detail: str = ""
    checkout: Checkout = HERE
    is_slow = False
    is_python = True
    keeps_records = True
    environment = None

    @property
    def name(self) -> str:
        """Package, database and what is special."""
        revision = f" {self.checkout.revision}" if self.checkout.revision else ""
        return f"plugspace_queue{revision}, {self.database}, {self.detail or self.style}"

    @property
    def is_ours(self) -> bool:
        """An earlier revision is compared with, as a peer is."""
        return not self.checkout.revision

    @property
    def version(self) -> str:
        """The version of this checkout, or the earlier revision."""
        return self.checkout.revision or plugspace_queue.__version__

    @property
    def needs_postgres(self) -> bool:
        """As the database says."""
        return self.database == "PostgreSQL"

    def redis(self, ground: Ground) -> "Redis":
        """The server with or without an append-only file."""
        return ground.redis(self.keeps)

    def stage(self, ground: Ground) -> Mapping[str, str]:
        """A copy of the prepared database."""
        return self._environment(ground, self._database(ground))

    def producer(self) -> list[str]:
        """The command of the benchmark's app."""
        return self.checkout.manage("bench_produce")

    def worker(self) -> list[str]:
        """What users run."""
        return self.checkout.manage("rqworker", "architect")

    def idle(self) -> list[str]:
        """Only django.setup()."""
        return [self.checkout.python, "-c", IDLE.format(home=str(self.checkout.home))]

    def _database(self, ground: Ground) -> str:
        if self.needs_postgres:
            template = ground.once(self.checkout.postgres_template)
            return ground.postgres().create("bench", template)
        path = ground.home / "bench.sqlite3"
        for leftover in ground.home.glob("bench.sqlite3*"):
            leftover.unlink()
        shutil.copy(ground.once(self.checkout.sqlite_template), path)
        return f"sqlite:///{path}"

    def _environment(self, ground: Ground, database_url: str) -> Mapping[str, str]:
        style = "async" if self.style == "async" else "threads"
        gates = "all" if self.has_gates else "quota"
        redis = self.redis(ground)
        return _environment(redis, database_url) | {"BENCH_STYLE": style, "BENCH_GATES": gates}


def _environment(redis: "Redis", database_url: str) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.host.settings",
        "DATABASE_URL": database_url,
        "REDIS_URL": f"unix://{redis.connection_pool.connection_kwargs['path']}",
        "SENTINELS": "",
        # As in production: with DEBUG Django keeps every statement.
        "DEBUG": "0",
        "SECRET_KEY": "of-a-benchmark-" + "x" * 32,
        "ALLOWED_HOSTS": "localhost",
    }
