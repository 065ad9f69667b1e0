"""Redis's time for an acquire, from a short line and from a very long one, in turns."""

import json
import statistics
import uuid
from collections.abc import Iterator
from typing import Any

from django.core.management import BaseCommand, CommandParser
from redis import Redis

from plugspace_queue.broker import scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.types import Entry, Grant, Settlement

SHORT, LONG = "architect", "design"
"""The queues whose lines are short and long."""

CREATED = "2026-01-01T00:00:00Z"
LEASE_MS = 600_000
ROUNDS = 25
CALLS = 80
"""Acquires of a round; the server's time is taken for all of them together."""

BATCH = 16
"""Leases that a worker asks for in one call."""


class Command(BaseCommand):
    """`manage.py bench_acquire FEW FEW_ORGANIZATIONS MANY MANY_ORGANIZATIONS`."""

    help = "Measure Redis's time per acquire for the benchmarks."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Tasks and organizations of the short line, then of the long one."""
        parser.add_argument("sizes", nargs=4, type=int)

    def handle(self, *args: Any, sizes: list[int], **options: Any) -> None:
        """Fill both, measure, print microseconds: leases of a call to [short, long]."""
        redis = client()
        _fill(redis, SHORT, *sizes[:2])
        _fill(redis, LONG, *sizes[2:])
        self.stdout.write(json.dumps({str(want): _measure(redis, want) for want in (1, BATCH)}))


def _fill(redis: Redis, queue: str, tasks: int, organizations: int) -> None:
    """Tasks of all organizations in turns, in the four bands alike."""
    call = task_store.configure(
        queue,
        paused=False,
        concurrency=1_000_000,
        limiter_max=1_000_000,
        limiter_ms=1000,
        organization_cap=1000,
        weighted=False,
        version=0,
    )
    scripts.run(redis, [call])
    for first in range(0, tasks, task_store.MOST_ENTRIES):
        numbers = range(first, min(first + task_store.MOST_ENTRIES, tasks))
        entries = [_entry(number, organizations) for number in numbers]
        scripts.run(redis, [task_store.submit(queue, entries)])


def _entry(number: int, organizations: int) -> Entry:
    place = number % organizations
    return Entry(
        task_id=uuid.uuid4().hex,
        band=place % 4,
        organization_id=f"organization-{place}",
        snapshot="{}",
        timeout=900,
        created_at=CREATED,
        description="",
    )


def _measure(redis: Redis, want: int) -> list[float]:
    """Microseconds of the server for a call: the middle one of the rounds, short line and long."""
    taken: dict[str, list[float]] = {SHORT: [], LONG: []}
    for _ in range(ROUNDS):
        for queue, values in taken.items():
            values.append(_round(redis, queue, want))
    return [statistics.median(values) for values in taken.values()]


def _round(redis: Redis, queue: str, want: int) -> float:
    call = task_store.acquire(queue, worker="bench", want=want, lease_ms=LEASE_MS)
    redis.config_resetstat()
    grants = [scripts.run(redis, [call])[0] for _ in range(max(CALLS // want, 5))]
    told = redis.info("commandstats")["cmdstat_evalsha"]
    for settlements in _backs(grants):
        scripts.run(redis, [task_store.settle(queue, settlements)])
    return float(told["usec_per_call"])


def _backs(grants: list[Grant]) -> Iterator[list[Settlement]]:
    """Everything goes back, so that the line keeps its length."""
    for grant in grants:
        yield [
            Settlement(task_id=lease.task_id, fence=lease.fence, outcome="back")
            for lease in grant.leases
        ]
