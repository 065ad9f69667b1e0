"""CPU time of running processes, as the kernel's scheduler accounts it (Linux)."""

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
IS_HERE = (PROC / "self" / "stat").exists()
"""Whether this system tells the CPU time of other processes."""

PARENT, SESSION, CHILDREN_USER, CHILDREN_SYSTEM = 1, 3, 13, 14
"""Fields of /proc/PID/stat, counted from the state."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """CPU seconds of a worker's processes and of the servers until now."""

    worker: float
    redis: float
    postgres: float

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            worker=self.worker - other.worker,
            redis=self.redis - other.redis,
            postgres=self.postgres - other.postgres,
        )


def of_sessions(leaders: Collection[int]) -> float:
    """Seconds of all processes in these sessions, with those that have ended."""
    return sum(_used(pid) for pid, fields in _processes() if int(fields[SESSION]) in leaders)


def of_family(parent: int | None) -> float:
    """Seconds of a process and its children, with those that have ended; 0 without one."""
    if parent is None:
        return 0.0
    children = (pid for pid, fields in _processes() if int(fields[PARENT]) == parent)
    return sum(map(_used, [parent, *children]))


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            yield int(entry.name), fields


def _used(pid: int) -> float:
    """Of the process itself to the nanosecond, of its ended children in ticks."""
    fields = _fields(pid)
    if not fields:
        return 0.0
    ended = (int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])) / TICK
    return _clock(pid) + ended


def _clock(pid: int) -> float:
    # What clock_getcpuclockid(3) gives for a process: its id inverted, and the scheduler's clock.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _fields(pid: int) -> list[str]:
    """From the state on: the name before it may hold spaces; empty when it has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
