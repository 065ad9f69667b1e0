"""Servers of a test's own: processes in folders of their own, on free ports of loopback."""

import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from plugspace_queue import embedded_redis
from tests.support import patient, wait_until

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class Node:
    """One server process, data or Sentinel; `words` start it."""

    port: int
    folder: Path
    words: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    client: Redis = field(init=False)

    def __post_init__(self) -> None:
        self.client = Redis(
            HOST, self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0), decode_responses=True
        )

    def start(self) -> None:
        """Start it with what it was started with before, on an empty memory."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [embedded_redis.server_binary(), *self.words],
                stdout=log,
                stderr=subprocess.STDOUT,
                # Python ignores SIGXFSZ, and so shall the server: a full disk is an error to it.
                restore_signals=False,
            )
        wait_until(self.answers, 10, f"no server on port {self.port}")

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send it a signal; a killed one is waited for."""
        assert self.process is not None
        self.process.send_signal(signum)
        if signum == signal.SIGKILL:
            self.process.wait(timeout=patient(10))

    def answers(self) -> bool:
        """Whether it says PONG."""
        with suppress(RedisError):
            return bool(self.client.ping())
        return False

    def told(self, section: str = "replication") -> dict[str, Any]:
        """What INFO says; empty while it does not answer."""
        with suppress(RedisError):
            found: dict[str, Any] = self.client.info(section)
            return found
        return {}


def data_server(home: Path, port: int, **options: object) -> Node:
    """A server that keeps nothing on disk unless `options` say so; not started yet."""
    folder = home / f"server-{port}"
    folder.mkdir(parents=True)
    given = {
        "port": port,
        "bind": HOST,
        "dir": folder,
        "save": "",
        "appendonly": "no",
        "repl_diskless_sync_delay": 0,
        **options,
    }
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in given.items())
    return Node(port, folder, [word for pair in pairs for word in pair])
