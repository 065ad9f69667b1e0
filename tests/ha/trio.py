"""One primary, two replicas and three Sentinels on loopback, without root and gone at the end."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from plugspace_queue import embedded
from tests.support import wait_until

HOST = "127.0.0.1"
SERVICE = "queue"
SENTINEL = """port {port}
bind {host}
dir {folder}
sentinel monitor {service} {host} {primary} 2
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 3000
"""


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
                [embedded.server_binary(), *self.words], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self.answers, 10, f"no server on port {self.port}")

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send it a signal; a killed one is waited for."""
        assert self.process is not None
        self.process.send_signal(signum)
        if signum == signal.SIGKILL:
            self.process.wait(timeout=10)

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


@dataclass
class Trio:
    """The nodes, and who is the primary right now."""

    servers: list[Node]
    sentinels: list[Node]

    @property
    def setting(self) -> str:
        """The value of SENTINELS."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.sentinels)
        return f"{hosts}/{SERVICE}"

    def primary(self) -> Node:
        """The server that the Sentinels name."""
        _, port = self.sentinels[0].client.execute_command(
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE
        )
        return next(node for node in self.servers if node.port == int(port))

    def is_whole(self) -> bool:
        """Whether the replicas follow and all Sentinels know of everybody."""
        replicas = len(self.servers) - 1
        lines = [str(self.primary().told().get(f"slave{n}")) for n in range(replicas)]
        states = [node.client.sentinel_master(SERVICE) for node in self.sentinels]
        return all("online" in line for line in lines) and all(
            (state["num-other-sentinels"], state["num-slaves"]) == (2, replicas) for state in states
        )


@contextmanager
def running(home: Path) -> Iterator[Trio]:
    """A trio that is whole, in folders below `home`."""
    *servers, one, two, three = free_ports(6)
    trio = Trio(
        [_server(home, port, servers[0]) for port in servers],
        [_sentinel(home, port, servers[0]) for port in (one, two, three)],
    )
    nodes = trio.servers + trio.sentinels
    try:
        for node in nodes:
            node.start()
        wait_until(trio.is_whole, 20, "the Sentinels do not find each other")
        yield trio
    finally:
        for node in nodes:
            if node.process is not None:
                node.kill()
            node.client.close()


def _server(home: Path, port: int, primary: int) -> Node:
    folder = home / f"server-{port}"
    folder.mkdir(parents=True)
    options = {
        "port": port,
        "bind": HOST,
        "dir": folder,
        "save": "",
        "appendonly": "no",
        "repl-diskless-sync-delay": 0,
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    if port != primary:
        words += ["--replicaof", f"{HOST} {primary}"]
    return Node(port, folder, words)


def _sentinel(home: Path, port: int, primary: int) -> Node:
    folder = home / f"sentinel-{port}"
    folder.mkdir(parents=True)
    file = folder / "sentinel.conf"
    file.write_text(
        SENTINEL.format(port=port, host=HOST, folder=folder, service=SERVICE, primary=primary)
    )
    return Node(port, folder, [str(file), "--sentinel"])
