"""Which measures run on which systems here, and which systems are skipped, with the reason."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks import servers
from benchmarks.environments import Environment, Unavailable
from benchmarks.measures import Measure
from benchmarks.systems.base import System


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for; nothing said means everything."""

    keys: Sequence[str] = ()
    words: Sequence[str] = ()
    """Words of names of systems."""
    peers: bool = True
    """Whether systems take part that are installed on demand."""

    def has(self, system: System) -> bool:
        """Whether the system was asked for."""
        is_named = not self.words or any(word in system.name for word in self.words)
        return is_named and (self.peers or system.environment is None)


def choose(measures: Sequence[Measure], wanted: Wanted) -> tuple[list[Measure], dict[str, str]]:
    """The measures with the systems that can run, and name to reason of those that cannot."""
    asked = [measure for measure in measures if not wanted.keys or measure.key in wanted.keys]
    systems = {system for measure in asked for system in measure.systems if wanted.has(system)}
    skipped = _skipped(sorted(systems, key=lambda system: system.name))
    left = {system for system in systems if system.name not in skipped}
    return [
        dataclasses.replace(measure, systems=able)
        for measure in asked
        if (able := tuple(system for system in measure.systems if system in left))
    ], skipped


def _skipped(systems: Iterable[System]) -> dict[str, str]:
    has_postgres = servers.postgres_binaries() is not None
    # Two systems may share an environment: it is tried once.
    reason = cache(_reason)
    skipped = {}
    for system in systems:
        if system.needs_postgres and not has_postgres:
            skipped[system.name] = "PostgreSQL is not here"
        elif system.environment and (told := reason(system.environment)):
            skipped[system.name] = told
    return skipped


def _reason(environment: Environment) -> str | None:
    """Why the environment cannot be made; None when it is there."""
    try:
        environment.make()
    except Unavailable as error:
        return str(error)
    return None
