"""What the processors of a run write down while they work: one short line per beat, in one file.

A line is appended by one write, so that lines of many processes never mix, and what a killed
process wrote stays written.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

PATH = "PSQ_CHAOS_JOURNAL"
WORKER = "PSQ_CHAOS_WORKER"
"""Variables of a worker's environment: the file, and the worker's name in it."""


class Key(NamedTuple):
    """Which execution a line is of."""

    task_id: str
    number: int
    worker: str
    pid: int


@dataclass
class Span:
    """One execution as far as it was seen: it ran at least from `began` to `seen`."""

    key: Key
    began: float
    seen: float
    ended: bool = False
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """Stretches without a line, longer than asked for."""

    def beat(self, moment: float, longest: float) -> None:
        """Another line of it; a long silence before is kept."""
        if moment - self.seen > longest:
            self.pauses.append((self.seen, moment))
        self.seen = max(self.seen, moment)


class Pen:
    """Writes the lines of one execution."""

    def __init__(self, task_id: str, number: int) -> None:
        worker = os.environ.get(WORKER, "?")
        self._head = f"{task_id} {number} {worker} {os.getpid()}"

    def write(self, word: str) -> None:
        """Append one line."""
        os.write(_file(os.getpid()), f"{time.time():.4f} {self._head} {word}\n".encode())


@contextmanager
def execution(task_id: str, number: int) -> Iterator[Pen]:
    """Begin and end of one execution; whatever ends it, short of the process's death."""
    pen = Pen(task_id, number)
    pen.write("begin")
    try:
        yield pen
    finally:
        pen.write("end")


def read(path: Path, longest_silence: float) -> list[Span]:
    """All executions of a journal, the first begun first."""
    spans: dict[Key, Span] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        moment, task_id, number, worker, pid, word = line.split()
        key = Key(task_id, int(number), worker, int(pid))
        span = spans.setdefault(key, Span(key, float(moment), float(moment)))
        span.beat(float(moment), longest_silence)
        span.ended = span.ended or word == "end"
    return sorted(spans.values(), key=lambda span: span.began)


def by_task(spans: list[Span]) -> dict[str, list[Span]]:
    """The executions of each task, in the order of their beginning."""
    found: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        found[span.key.task_id].append(span)
    return found


@cache
def _file(pid: int) -> int:
    # By process: a child of a forkserver opens its own.
    return os.open(os.environ[PATH], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
