"""One run, from its servers to its verdict."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import faults, journal
from tests.chaos.fleet import ROOT, Fleet
from tests.chaos.injector import Injector
from tests.chaos.servers import STARTS_WITHIN, PostgresServer, RedisServer, Server, SqliteFile
from tests.support import wait_until

TURN = 0.05


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to be."""

    seconds: float
    workers: int
    seed: int
    database: str
    rate: float
    gap: float
    patience: float
    into: Path


class Run:
    """A context: everything it started is gone when it ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stack = ExitStack()
        self._home = self._folder("psq-chaos-")
        self._redis = RedisServer(self._home)
        self._database = self._make_database()
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": self._database.url,
            "REDIS_URL": self._redis.url,
            "SENTINELS": "",
            "DEBUG": "0",
            "SECRET_KEY": "chaos-" + "x" * 60,
            "ALLOWED_HOSTS": "localhost",
            "PYTHONUNBUFFERED": "1",
            journal.PATH: str(plan.into / "journal"),
        }
        self._fleet = Fleet(plan.workers, self._environment, plan.into)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def go(self) -> int:
        """Run it; the exit code: 0 when every promise was kept."""
        self._start_servers()
        self._manage("migrate", "--verbosity", "0").wait()
        self._stack.callback(self._fleet.close)
        self._fleet.keep()
        load = self._load()
        began = time.time()
        injector = self._injector()
        over_at = began + self._plan.seconds
        self._turn(injector, lambda: time.time() >= over_at and injector.has_seen_all())
        injector.end()
        load.send_signal(signal.SIGTERM)
        self._turn_fleet(load)
        return self._judge(injector, began)

    def _load(self) -> "subprocess.Popen[bytes]":
        """The users, once they have begun: no fault comes before there is something to break."""
        plan = self._plan
        words = [*self._book(), "--seed", str(plan.seed), "--rate", str(plan.rate)]
        load = self._manage("chaos_load", *words, log=plan.into / "load.log")
        has_begun = (plan.into / "calls").exists
        wait_until(lambda: has_begun() or load.poll() is not None, STARTS_WITHIN)
        return load

    def _injector(self) -> Injector:
        field = faults.Field(
            self._fleet, self._redis, self._database, random.Random(self._plan.seed)
        )
        has_server = isinstance(self._database, PostgresServer)
        return Injector(
            faults.WITH_POSTGRES if has_server else faults.ALWAYS, field, self._plan.gap
        )

    def _turn(self, injector: Injector, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self._fleet.keep()
            injector.turn()
            threading.Event().wait(TURN)

    def _turn_fleet(self, child: "subprocess.Popen[bytes]") -> None:
        """Workers are kept while something else comes to its end."""
        while child.poll() is None:
            self._fleet.keep()
            threading.Event().wait(TURN)

    def _judge(self, injector: Injector, began: float) -> int:
        told = self._plan.into / "told.json"
        told.write_text(json.dumps(self._told(injector, began)))
        judge = self._manage(
            "chaos_judge",
            *self._book(),
            "--journal",
            self._environment[journal.PATH],
            "--told",
            str(told),
            "--into",
            str(self._plan.into),
            "--patience",
            str(self._plan.patience),
        )
        self._turn_fleet(judge)
        return judge.returncode

    def _told(self, injector: Injector, began: float) -> dict[str, Any]:
        plan = self._plan
        return {
            "injected": [one.as_json() for one in injector.injected],
            "departures": [one.as_json() for one in self._fleet.departures],
            "lives": self._fleet.lives(),
            "about": {
                "seed": plan.seed,
                "seconds": plan.seconds,
                "workers": plan.workers,
                "database": plan.database,
                "redis": Path(self._redis.binary).name,
                "began": began,
            },
        }

    def _book(self) -> tuple[str, str]:
        return "--book", str(self._plan.into / "calls")

    def _start_servers(self) -> None:
        for server in (self._redis, self._database):
            server.start()
            self._stack.callback(_stop, server)

    def _make_database(self) -> Server:
        if self._plan.database == "postgres":
            return PostgresServer(self._folder("psq-chaos-pg-"))
        return SqliteFile(self._home)

    def _folder(self, prefix: str) -> Path:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        self._stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def _manage(self, *words: str, log: Path | None = None) -> "subprocess.Popen[bytes]":
        with log.open("wb") if log else nullcontext() as out:
            child = subprocess.Popen(
                [sys.executable, "manage.py", *words],
                cwd=ROOT,
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._stack.callback(_end, child)
        return child


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.kill()
        child.wait()


def _stop(server: Server) -> None:
    # It may be down already, when a run is broken off in the middle of a fault.
    try:
        server.stop(abruptly=True)
    except RuntimeError:
        return
