"""The servers of a run: Redis and PostgreSQL with their defaults, on Unix sockets, made and gone.

Unlike the tests' servers these keep fsync on: a commit costs what it costs.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from benchmarks import processes
from plugspace_queue import embedded_redis

INSTALLED = "usr/lib/postgresql/*/bin"
TEMPLATE = "bench_template"


class Postgres:
    """A running cluster: hands out databases made from a migrated template."""

    def __init__(self, binaries: Path, home: Path) -> None:
        self._binaries = binaries
        self._home = home

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgres://postgres@/{name}?host={self._home}"

    def create(self, name: str, template: str = "template0") -> str:
        """Make a database anew from a template; its URL."""
        self._run("dropdb", "--if-exists", "--force", name)
        self._run("createdb", "-T", template, name)
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        login = ("-h", str(self._home), "-U", "postgres")
        subprocess.run(
            [self._binaries / program, *login, *arguments],
            check=True,
            stderr=subprocess.DEVNULL,
        )


def postgres_binaries() -> Path | None:
    """The folder of the newest PostgreSQL here, or None."""
    versioned = sorted(Path("/").glob(INSTALLED), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    found = [*([Path(on_path).resolve().parent] if on_path else []), *versioned]
    return next((path for path in reversed(found) if (path / "initdb").exists()), None)


@contextmanager
def postgres(binaries: Path) -> Iterator[Postgres]:
    """A cluster with the server's defaults, in a folder of its own."""
    # PostgreSQL refuses to run as root.
    owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
    demoted: dict[str, Any] = owner if os.getuid() == 0 else {}
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="psq-bench-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        if demoted:
            shutil.chown(home, "postgres", "postgres")
        control = [str(binaries / "pg_ctl"), "-D", str(home / "data"), "-w", "-s"]
        options = f"-k {home} -c listen_addresses="

        def run(*command: str) -> None:
            subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, **demoted)

        initdb = str(binaries / "initdb")
        run(initdb, "-D", str(home / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8")
        run(*control, "-l", str(home / "log"), "-o", options, "start")
        stack.callback(run, *control, "-m", "immediate", "stop")
        yield Postgres(binaries, home)


def redis_binary() -> str:
    """A redis-server of PATH, else the bundled Valkey."""
    return shutil.which("redis-server") or embedded_redis.server_binary()


@contextmanager
def redis(home: Path, *, keeps: bool) -> Iterator["Redis"]:
    """A server without persistence or, when it keeps, with an append-only file synced each second.

    Yields a client of it.
    """
    home.mkdir()
    socket = home / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(home),
        "save": "",
        "appendonly": "yes" if keeps else "no",
        "appendfsync": "everysec",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    log = home / "log"
    with (
        processes.logged([redis_binary(), *words], {}, log),
        Redis(unix_socket_path=str(socket), decode_responses=True) as client,
    ):
        _await(client)
        yield client


def _await(client: "Redis") -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            return
        except RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
