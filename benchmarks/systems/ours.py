"""This package, as a host project runs it: `manage.py rqworker architect` with 50 slots."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

import plugspace_queue
from benchmarks import processes
from benchmarks.ground import Ground
from benchmarks.servers import TEMPLATE

IDLE = "import django, signal; django.setup(); signal.pause()"


@dataclass(frozen=True, kw_only=True)
class Ours:
    """One combination of database, kind of processor, gates and persistence of Redis."""

    database: str = "PostgreSQL"
    style: str = "threads"
    has_gates: bool = False
    keeps: bool = False
    detail: str = ""
    is_ours = True
    is_slow = False
    is_python = True
    keeps_records = True
    environment = None

    @property
    def name(self) -> str:
        """Package, database and what is special."""
        return f"plugspace_queue, {self.database}, {self.detail or self.style}"

    @property
    def version(self) -> str:
        """The version of this checkout."""
        return plugspace_queue.__version__

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
        return processes.python("manage.py", "bench_produce")

    def worker(self) -> list[str]:
        """What users run."""
        return processes.python("manage.py", "rqworker", "architect")

    def idle(self) -> list[str]:
        """Only django.setup()."""
        return processes.python("-c", IDLE)

    def _database(self, ground: Ground) -> str:
        if self.needs_postgres:
            ground.once(_postgres_template)
            return ground.postgres().create("bench", TEMPLATE)
        path = ground.home / "bench.sqlite3"
        for leftover in ground.home.glob("bench.sqlite3*"):
            leftover.unlink()
        shutil.copy(ground.once(_sqlite_template), path)
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


def _postgres_template(ground: Ground) -> str:
    url = ground.postgres().create(TEMPLATE)
    _prepare(ground, url)
    return url


def _sqlite_template(ground: Ground) -> Path:
    path = ground.home / "template.sqlite3"
    _prepare(ground, f"sqlite:///{path}")
    return path


def _prepare(ground: Ground, url: str) -> None:
    command = processes.python("manage.py", "bench_prepare")
    log = ground.home / "prepare.log"
    processes.run(command, _environment(ground.redis(False), url), log)
