"""What a run stands on: a folder, and servers that start when first asked for."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from redis import Redis

from benchmarks import servers
from benchmarks.servers import Postgres

T = TypeVar("T")


class NoPostgres(Exception):
    """PostgreSQL is not installed."""


class Ground:
    """A context: everything it gave is gone when it ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.home = Path(tempfile.mkdtemp(prefix="psq-bench-"))
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        self.redis = cache(self._redis)
        self.postgres = cache(self._postgres)
        self.once = cache(self._once)
        self.counts: dict[object, int] = {}
        """How many tasks make work enough, by measure and system."""

    def __enter__(self) -> "Ground":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def records(self) -> Path:
        """The file of the records of the measurement that runs."""
        return self.home / "records"

    def _redis(self, keeps: bool) -> "Redis":
        home = self.home / ("redis-aof" if keeps else "redis")
        return self._stack.enter_context(servers.redis(home, keeps=keeps))

    def _postgres(self) -> Postgres:
        binaries = servers.postgres_binaries()
        if binaries is None:
            raise NoPostgres
        return self._stack.enter_context(servers.postgres(binaries))

    def _once(self, make: Callable[["Ground"], T]) -> T:
        return make(self)
