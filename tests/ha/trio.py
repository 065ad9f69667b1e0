"""One primary, two replicas and three Sentinels on loopback, without root and gone at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import HOST, Node, data_server, free_ports
from tests.support import wait_until

SERVICE = "queue"
SENTINEL = """port {port}
bind {host}
dir {folder}
sentinel monitor {service} {host} {primary} 2
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 3000
"""


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
        [data_server(home, servers[0])]
        + [data_server(home, port, replicaof=f"{HOST} {servers[0]}") for port in servers[1:]],
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


def _sentinel(home: Path, port: int, primary: int) -> Node:
    folder = home / f"sentinel-{port}"
    folder.mkdir(parents=True)
    file = folder / "sentinel.conf"
    file.write_text(
        SENTINEL.format(port=port, host=HOST, folder=folder, service=SERVICE, primary=primary)
    )
    return Node(port, folder, [str(file), "--sentinel"])
