"""The servers of a run, made to be stopped, killed and started again: Redis and PostgreSQL."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from plugspace_queue import embedded_redis
from tests import postgres
from tests.support import wait_until

STARTS_WITHIN = 60.0


class Server(Protocol):
    """Something workers talk to, that can go away."""

    url: str

    def start(self) -> None: ...

    def stop(self, *, abruptly: bool) -> None: ...


class RedisServer:
    """A server on a Unix socket that syncs its append-only file each second."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._socket = home / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self.binary = os.environ.get("PSQ_TEST_REDIS_SERVER") or _redis_binary()

    def client(self) -> Redis:
        """A client for the run itself."""
        return Redis(unix_socket_path=str(self._socket), socket_timeout=5)

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(self._home),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "logfile": str(self._home / "redis.log"),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        # A session of its own: Ctrl-C in the run's terminal is not a fault.
        self._process = subprocess.Popen([self.binary, *words], start_new_session=True)
        wait_until(self._answers, STARTS_WITHIN, "Redis does not start")

    def stop(self, *, abruptly: bool) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if abruptly else signal.SIGTERM)
            self._process.wait(timeout=STARTS_WITHIN)
        self._process = None

    def _answers(self) -> bool:
        with suppress(RedisError), self.client() as client:
            return bool(client.ping())
        return False


class PostgresServer:
    """A cluster on a Unix socket, synced, so that what it has said is true after a crash."""

    def __init__(self, home: Path) -> None:
        folder = postgres.binaries()
        assert folder is not None
        self._home = home
        self._control = (folder / "pg_ctl", "-D", home / "data", "-w", "-t", "60")
        self.url = f"postgres://postgres@/postgres?host={home}"
        postgres.give_away(home)
        words = ("-U", "postgres", "-A", "trust", "-E", "UTF8")
        postgres.run(folder / "initdb", "-D", home / "data", *words)

    def start(self) -> None:
        options = f"-k {self._home} -c listen_addresses= -c max_connections=200"
        postgres.run(*self._control, "-l", self._home / "log", "-o", options, "start")

    def stop(self, *, abruptly: bool) -> None:
        postgres.run(*self._control, "-m", "immediate" if abruptly else "fast", "stop")


class SqliteFile:
    """Instead of a database server: a file, which nothing can stop."""

    def __init__(self, home: Path) -> None:
        self.url = f"sqlite:///{home / 'db.sqlite3'}"

    def start(self) -> None:
        """Nothing to start."""

    def stop(self, *, abruptly: bool) -> None:
        """Nothing to stop."""


def _redis_binary() -> str:
    return shutil.which("redis-server") or embedded_redis.server_binary()
