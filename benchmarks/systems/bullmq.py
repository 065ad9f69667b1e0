"""BullMQ on Node and its port to Python, on Redis and on its PostgreSQL backend."""

from dataclasses import dataclass

from benchmarks.environments import NodeEnvironment
from benchmarks.ground import Ground
from benchmarks.processes import ROOT
from benchmarks.systems.peer import Peer, PythonPeer, python_peer

PROGRAM = ROOT / "benchmarks" / "peers" / "bullmq.cjs"
MODULES = NodeEnvironment("bullmq-node", ("bullmq@6.7", "ioredis@6", "pg@8"))


@dataclass(frozen=True, kw_only=True)
class OnNode(Peer):
    """Everything is one program of Node."""

    environment: NodeEnvironment = MODULES
    package: str = "bullmq"
    is_python: bool = False

    def producer(self) -> list[str]:
        """The program with a verb."""
        return ["node", str(PROGRAM)]

    def worker(self) -> list[str]:
        """A Worker with a concurrency of 50."""
        return [*self.producer(), "work"]

    def idle(self) -> list[str]:
        """Only the modules."""
        return [*self.producer(), "idle"]

    def _variables(self, ground: Ground) -> dict[str, str]:
        return super()._variables(ground) | {"NODE_PATH": str(self.environment.modules)}


def _port(name: str, *, needs_postgres: bool) -> PythonPeer:
    return python_peer(
        name,
        "bullmq",
        ("bullmq[postgres]>=3.4,<3.5", "hiredis>=3"),
        app="bullmq_app",
        starts=("-m", "benchmarks.peers", "bullmq_app", "work"),
        loads="bullmq.backends.postgres_backend" if needs_postgres else "bullmq",
        needs_postgres=needs_postgres,
    )


PORT = _port("BullMQ, Python", needs_postgres=False)
PORT_POSTGRES = _port("BullMQ, Python, PostgreSQL", needs_postgres=True)
NODE = OnNode(name="BullMQ, Node")
NODE_POSTGRES = OnNode(name="BullMQ, Node, PostgreSQL", needs_postgres=True)
