"""What a system must offer to be measured."""

from collections.abc import Mapping
from typing import Protocol

from redis import Redis

from benchmarks.environments import Environment
from benchmarks.ground import Ground


class System(Protocol):
    """One way to run tasks: a package with its options."""

    @property
    def name(self) -> str:
        """Package and options, as the table shows it."""

    @property
    def version(self) -> str:
        """The package's version."""

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""

    @property
    def is_slow(self) -> bool:
        """Whether it gets a fifth of the tasks to drain, so that a run ends."""

    @property
    def is_python(self) -> bool:
        """Whether its worker is written in Python."""

    @property
    def needs_postgres(self) -> bool:
        """Whether it uses PostgreSQL."""

    @property
    def keeps_records(self) -> bool:
        """Whether each task is a row of a database from its submit on."""

    @property
    def environment(self) -> Environment | None:
        """Where a peer is installed on demand; None when it is here already."""

    def redis(self, ground: Ground) -> "Redis":
        """A client of the server that it uses."""

    def stage(self, ground: Ground) -> Mapping[str, str]:
        """Make everything as new but the emptied Redis; the variables its processes need."""

    def producer(self) -> list[str]:
        """The command that submits; takes verb, count and job (see `producing`)."""

    def worker(self) -> list[str]:
        """The command of one worker process; at 50 slots where it has slots."""

    def idle(self) -> list[str]:
        """The command of a process that has everything loaded and waits to be killed."""
