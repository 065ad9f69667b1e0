"""When tasks started and ended: one 64-byte record each, appended by whoever ran it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LENGTH = 64
FILE = "BENCH_RECORDS"
"""The variable that names the file."""


class TooSlow(Exception):
    """What was waited for did not come in time."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run of a task; times are nanoseconds of CLOCK_MONOTONIC, one clock for all processes."""

    number: int
    started: int
    ended: int
    process: int
    """Id of the process that ran it."""


def writer() -> Callable[[int, int], None]:
    """A function (number, started) that appends a record ending now."""
    file = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(number: int, started: int) -> None:
        # Asked each time: a worker may fork after its first task.
        text = f"{number} {started} {time.monotonic_ns()} {os.getpid()}"
        # One write(2) in append mode: records of many processes never mix.
        os.write(file, f"{text:<{LENGTH - 1}}\n".encode())

    return write


def count(path: Path) -> int:
    """How many records there are."""
    return path.stat().st_size // LENGTH if path.exists() else 0


def read(path: Path) -> list[Record]:
    """All records."""
    return [Record(*map(int, line.split())) for line in path.read_text().splitlines()]


def processes(path: Path) -> int:
    """How many processes have run a task."""
    return len({record.process for record in read(path)}) if path.exists() else 0


def wait(path: Path, wanted: int, is_alive: Callable[[], bool], patience: float = 60.0) -> None:
    """Wait until there are `wanted` records.

    Raises TooSlow when none comes for `patience` seconds or nobody is left to write one.
    """
    seen, since = count(path), time.monotonic()
    while seen < wanted:
        if not is_alive():
            raise TooSlow(f"the worker ended after {seen} of {wanted} tasks")
        if time.monotonic() - since > patience:
            raise TooSlow(f"{seen} of {wanted} tasks, and none for {patience:.0f} s")
        time.sleep(0.02)
        if (now := count(path)) != seen:
            seen, since = now, time.monotonic()
