"""What a submit, a REST submit and an attempt run through: files, edges between files, call depth.

`python -m tests.tooling.hops` prints the figures beside their limits; `--files` lists the files and
edges. Tests use `submit()`, `rest_submit()` and `attempt()`, or `Trace` around a call of their own.
"""

import argparse
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import plugspace_queue

ROOT = f"{Path(plugspace_queue.__file__).parent}/"
ROUNDS = 3
"""Measurements per figure; the smallest counts, because a periodic job may fall into one."""

Edge = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Hops:
    """What one operation ran through; files are relative to the package."""

    files: frozenset[str]
    edges: frozenset[Edge]
    depth: int
    """The greatest number of the package's frames on one stack."""

    def __str__(self) -> str:
        return f"{len(self.files)} files, {len(self.edges)} edges, stack {self.depth}"

    @property
    def size(self) -> tuple[int, int, int]:
        """For comparisons."""
        return len(self.files), len(self.edges), self.depth


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most files and edges that an operation may run through."""

    files: int
    edges: int

    def __str__(self) -> str:
        return f"{self.files} files, {self.edges} edges"

    def holds(self, hops: Hops) -> bool:
        """Whether the operation stays within it."""
        return len(hops.files) <= self.files and len(hops.edges) <= self.edges


BUDGETS = {
    "submit": Budget(files=20, edges=26),
    "rest_submit": Budget(files=25, edges=38),
    "attempt": Budget(files=25, edges=45),
}


class Trace:
    """A context that counts the package's calls, in this thread and in those started inside it."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.edges: Counter[Edge] = Counter()
        self.depth = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Trace":
        threading.setprofile(self._called)
        sys.setprofile(self._called)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def hops(self, without: "Trace | None" = None) -> Hops:
        """What was counted; with `without`, only what was called more often than there."""
        idle = without or Trace()
        return Hops(
            files=frozenset(_more(self.files, idle.files)),
            edges=frozenset(_more(self.edges, idle.edges)),
            depth=self.depth,
        )

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or not _is_ours(frame):
            return
        stack = _stack(frame)
        here = _name(frame)
        with self._lock:
            self.files[here] += 1
            self.depth = max(self.depth, len(stack))
            if len(stack) > 1 and (caller := _name(stack[1])) != here:
                self.edges[caller, here] += 1


def submit() -> Hops:
    """One `add_task` of the organization acme."""
    return min((_submit() for _ in range(ROUNDS)), key=_size)


def rest_submit(headers: Mapping[str, str]) -> Hops:
    """One POST of a task; `headers` carry a key of the organization acme."""
    return min((_rest_submit(headers) for _ in range(ROUNDS)), key=_size)


def attempt() -> Hops:
    """One task run by a worker in this process, less what a burst without a task runs through."""
    _burst()
    return min((_attempt() for _ in range(ROUNDS)), key=_size)


def prepare() -> Mapping[str, str]:
    """Make the organization acme and fill all caches; the headers for `rest_submit`."""
    from plugspace_queue import queue_manager
    from plugspace_queue.models import ApiKey, Organization

    queue_manager.set_organization("acme", tier="enterprise")
    _, key = ApiKey.issue(Organization.objects.get(pk="acme"), ["read", "submit"])
    _add_task()
    return {"Authorization": f"Bearer {key}"}


def _submit() -> Hops:
    with Trace() as trace:
        _add_task()
    return trace.hops()


def _rest_submit(headers: Mapping[str, str]) -> Hops:
    from django.test import Client

    body = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}
    client = Client(headers=dict(headers))
    with Trace() as trace:
        answer = client.post("/api/v1/tasks/", body, content_type="application/json")
    assert answer.status_code == 201, answer.content
    return trace.hops()


def _attempt() -> Hops:
    with Trace() as idle:
        _burst()
    _add_task()
    with Trace() as busy:
        _burst()
    return busy.hops(without=idle)


def _add_task() -> None:
    from tests.factories import arguments

    plugspace_queue.queue_manager.add_task(**arguments())


def _burst() -> None:
    from django.core.management import call_command

    # RQ's command ends the process that it believes to be its own.
    with suppress(SystemExit):
        call_command("rqworker", "architect", burst=True, verbosity=0)


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(ROOT)


def _name(frame: FrameType) -> str:
    return frame.f_code.co_filename.removeprefix(ROOT)


def _stack(frame: FrameType) -> list[FrameType]:
    """The package's frames of a stack, the innermost first."""
    frames: list[FrameType] = []
    up: FrameType | None = frame
    while up is not None:
        if _is_ours(up):
            frames.append(up)
        up = up.f_back
    return frames


def _more(counted: Counter[Any], idle: Counter[Any]) -> set[Any]:
    return {key for key, times in counted.items() if times > idle[key]}


def _size(hops: Hops) -> tuple[int, int, int]:
    return hops.size


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on a database and a server of its own; 1 when a budget does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.tooling.hops", description=__doc__)
    parser.add_argument("--files", action="store_true", help="list files and edges")
    given = parser.parse_args(arguments)
    # Its import makes the servers of a test run; they end with this process.
    from tests.conftest import RESOURCES

    with RESOURCES:
        measured = _measured()
    for name, hops in measured.items():
        word = "holds" if BUDGETS[name].holds(hops) else "FAILS"
        sys.stdout.write(f"{name:<12} {word}  {hops}  (limit {BUDGETS[name]})\n")
        if given.files:
            lines = [*sorted(hops.files), *(f"{one} -> {two}" for one, two in sorted(hops.edges))]
            sys.stdout.write("".join(f"  {line}\n" for line in lines))
    return int(not all(BUDGETS[name].holds(hops) for name, hops in measured.items()))


def _measured() -> dict[str, Hops]:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    headers = prepare()
    figures: dict[str, Callable[[], Hops]] = {
        "submit": submit,
        "rest_submit": lambda: rest_submit(headers),
        "attempt": attempt,
    }
    return {name: measure() for name, measure in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
