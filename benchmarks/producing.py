"""The child's side of submitting: a system says how one and many are added, this takes the time.

Called as `<command of the system> VERB COUNT JOB`; answers with one line of JSON on stdout.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

PER_CALL = 500
"""Tasks of one bulk call."""

WARM_UP = -1
"""The number of the task that opens connections and fills caches before the time is taken."""

PAUSE = 0.05
"""Seconds between two submits of the pickup measure."""


WATCHED = 20.0
"""Seconds within which the tasks that have run must be complete."""

LOOK = 0.01
"""Seconds between two looks whether all are complete."""


class Producer(Protocol):
    """How one system submits; numbers tell the tasks apart in the records."""

    def add(self, kind: str, number: int) -> None:
        """Submit one task."""

    def add_stamped(self, kind: str, number: int) -> int:
        """Submit one task; the moment from which on only the queue delays it (monotonic ns).

        That is the commit's return; for a queue without records, the call.
        """

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Submit all of these in one call."""

    def completed(self) -> int:
        """How many tasks the system says are complete."""


def main(producer: Producer, arguments: Sequence[str]) -> None:
    """Do one verb and print its answer."""
    verb, count, kind = arguments
    answer = VERBS[verb](producer, int(count), kind)
    sys.stdout.write(json.dumps(answer) + "\n")


def single(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """Seconds for `count` submits, one after the other, and of them this process's CPU time."""
    producer.add(kind, WARM_UP)
    begun, used = time.monotonic(), time.process_time()
    for number in range(count):
        producer.add(kind, number)
    return {"seconds": time.monotonic() - begun, "cpu": time.process_time() - used}


def bulk(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """Seconds for `count` tasks in calls of PER_CALL, and of them this process's CPU time."""
    producer.add_many(kind, [WARM_UP])
    begun, used = time.monotonic(), time.process_time()
    load(producer, count, kind)
    return {"seconds": time.monotonic() - begun, "cpu": time.process_time() - used}


def load(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """Exactly `count` tasks, no time taken."""
    for first in range(0, count, PER_CALL):
        producer.add_many(kind, range(first, min(first + PER_CALL, count)))
    return {}


def paced(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """`count` submits with a pause before each; of each the stamp and the return of the submit."""
    stamps, returns = [], []
    for number in range(count):
        time.sleep(PAUSE)
        stamps.append(producer.add_stamped(kind, number))
        returns.append(time.monotonic_ns())
    return {"stamps": stamps, "returns": returns}


def warm(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """`count` tasks one by one, no time taken, numbered below zero."""
    for number in range(count):
        producer.add(kind, WARM_UP - number)
    return {}


def completed(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """How many are complete."""
    return {"completed": producer.completed()}


def watch(producer: Producer, count: int, kind: str) -> dict[str, Any]:
    """When tasks were complete (monotonic ns); how many, a line on stdin says at their end."""
    # The first look opens the connection.
    producer.completed()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    wanted = int(sys.stdin.readline())
    until = time.monotonic() + WATCHED
    while (done := producer.completed()) < wanted and time.monotonic() < until:
        time.sleep(LOOK)
    return {"at": time.monotonic_ns(), "completed": done}


VERBS = {verb.__name__: verb for verb in (single, bulk, load, paced, warm, completed, watch)}
"""Verb to function."""
