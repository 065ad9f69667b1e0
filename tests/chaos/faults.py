"""What is done to a run: each fault begins, holds for a while, and is undone."""

import random
import signal
import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from tests.chaos.clocks import LEASE, STOPS_WITHIN
from tests.chaos.fleet import Fleet, Worker
from tests.chaos.servers import RedisServer, Server


@dataclass
class Injected:
    """One fault that happened: when, to whom, and how."""

    name: str
    target: str
    began: float
    ended: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Field:
    """What faults may touch."""

    fleet: Fleet
    redis: RedisServer
    database: Server
    chance: random.Random
    is_redis_up: bool = True
    is_database_up: bool = True


@dataclass
class Fault:
    """One fault at work; `hold` is how many seconds it lasts at most. By itself it does nothing."""

    hold: float = 0.0

    def is_over(self) -> bool:
        """Whether it has ended before."""
        return False

    def undo(self) -> None:
        """End it; also called when the run ends."""


class Kind(Protocol):
    """A kind of fault; its call begins one and says what it hit, or None when it cannot now."""

    name: str

    def __call__(self, field: Field) -> tuple[str, Fault] | None: ...


class Kill:
    """SIGKILL to a worker, alone or with all of its session."""

    name = "SIGKILL"

    def __call__(self, field: Field) -> tuple[str, Fault] | None:
        worker = _picked(field)
        if worker is None:
            return None
        worker.trouble = self.name
        if field.chance.random() < 0.5:
            worker.signal(signal.SIGKILL)
            return f"{worker.name} (process)", Fault()
        worker.signal_group(signal.SIGKILL)
        return f"{worker.name} (session)", Fault()


class Freeze:
    """SIGSTOP to a worker, SIGCONT later: shorter or longer than its leases last."""

    name = "SIGSTOP"

    def __call__(self, field: Field) -> tuple[str, Fault] | None:
        worker = _picked(field)
        if worker is None:
            return None
        worker.trouble = self.name
        worker.signal_group(signal.SIGSTOP)
        return worker.name, Frozen(worker=worker, hold=field.chance.uniform(0.3, 2.5) * LEASE)


@dataclass(kw_only=True)
class Frozen(Fault):
    """A worker that stands still."""

    worker: Worker

    def undo(self) -> None:
        self.worker.signal_group(signal.SIGCONT)
        self.worker.trouble = ""


class Terminate:
    """SIGTERM: the worker hands back and ends; one that does not is killed and told."""

    name = "SIGTERM"

    def __call__(self, field: Field) -> tuple[str, Fault] | None:
        worker = _picked(field)
        if worker is None:
            return None
        worker.trouble, worker.told_at = self.name, time.time()
        worker.signal(signal.SIGTERM)
        return worker.name, Stopping(worker=worker, hold=STOPS_WITHIN)


@dataclass(kw_only=True)
class Stopping(Fault):
    """A worker that was told to stop."""

    worker: Worker

    def is_over(self) -> bool:
        return self.worker.process.poll() is not None

    def undo(self) -> None:
        if self.worker.process.poll() is None:
            self.worker.trouble = "did not stop"
            self.worker.signal_group(signal.SIGKILL)


class RestartRedis:
    """Redis is stopped or killed, and back after a while with what its file holds."""

    name = "Redis restart"

    def __call__(self, field: Field) -> tuple[str, Fault] | None:
        if not field.is_redis_up:
            return None
        abruptly = field.chance.random() < 0.5
        field.is_redis_up = False
        field.redis.stop(abruptly=abruptly)
        return "killed" if abruptly else "stopped", RedisAway(
            field=field, hold=field.chance.uniform(0.1, 3)
        )


@dataclass(kw_only=True)
class RedisAway(Fault):
    """No Redis."""

    field: Field

    def undo(self) -> None:
        self.field.redis.start()
        self.field.is_redis_up = True


class Flush:
    """FLUSHALL: Redis forgets everything."""

    name = "FLUSHALL"

    def __call__(self, field: Field) -> tuple[str, Fault] | None:
        if not field.is_redis_up:
            return None
        with field.redis.client() as client:
            client.flushall()
        return "", Fault()


class RestartDatabase:
    """PostgreSQL is stopped or crashes, and is back after a while."""

    name = "PostgreSQL restart"

    def __call__(self, field: Field) -> tuple[str, Fault] | None:
        if not field.is_database_up:
            return None
        abruptly = field.chance.random() < 0.5
        field.is_database_up = False
        field.database.stop(abruptly=abruptly)
        return "crash" if abruptly else "fast", DatabaseAway(
            field=field, hold=field.chance.uniform(0.1, 3)
        )


@dataclass(kw_only=True)
class DatabaseAway(Fault):
    """No database."""

    field: Field

    def undo(self) -> None:
        self.field.database.start()
        self.field.is_database_up = True


ALWAYS: tuple[Kind, ...] = (Kill(), Freeze(), Terminate(), RestartRedis(), Flush())
WITH_POSTGRES: tuple[Kind, ...] = (*ALWAYS, RestartDatabase())


def _picked(field: Field) -> Worker | None:
    able = field.fleet.untroubled()
    return field.chance.choice(able) if able else None
