"""The producer of our own queue, see `producing`.

It uses the public surface only, so that it also drives an earlier revision of the package.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

from django.core.management import BaseCommand, CommandParser
from django.db import transaction
from redis import Redis

from benchmarks import job, producing
from benchmarks.host.processors import SLOTS
from plugspace_queue import queue_manager
from plugspace_queue.models import Task

ACTIVE = "plugspace:architect:active"


class Command(BaseCommand):
    """`manage.py bench_produce VERB COUNT JOB`."""

    help = "Submit tasks for the benchmarks."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Verb, count and job."""
        parser.add_argument("arguments", nargs=3)

    def handle(self, *args: Any, arguments: Sequence[str], **options: Any) -> None:
        """Give the emptied Redis the queue's gates, then do the verb."""
        queue_manager.set_queue("ARCHITECT", {"concurrency": SLOTS})
        producing.main(Producer(), arguments)


class Producer:
    """`add_task` and `add_tasks`; through all gates when BENCH_GATES says so."""

    def __init__(self) -> None:
        self._has_gates = os.environ.get("BENCH_GATES") == "all"
        self._organizations = int(os.environ.get("BENCH_ORGANIZATIONS", "1"))
        self._redis = Redis.from_url(os.environ["REDIS_URL"])

    def add(self, kind: str, number: int) -> None:
        """One task."""
        queue_manager.add_task(**self._given(kind, number), limit_requests=self._has_gates)

    def add_stamped(self, kind: str, number: int) -> int:
        """One task in a transaction of the caller's; its commit's return."""
        stamps: list[int] = []
        with transaction.atomic():
            # The first to be called after the commit, before the task is published.
            transaction.on_commit(lambda: stamps.append(time.monotonic_ns()))
            self.add(kind, number)
        return stamps[0]

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Many tasks in one transaction."""
        items = [self._given(kind, number) for number in numbers]
        queue_manager.add_tasks(items, limit_requests=self._has_gates)

    def completed(self) -> int:
        """Rows that are complete, as far as their leases are settled."""
        running = int(self._redis.llen(ACTIVE))
        return Task.objects.filter(state="complete").count() - running

    def _given(self, kind: str, number: int) -> dict[str, Any]:
        return {
            "type": "ARCHITECT",
            "project_id": "p1",
            "user_id": "u1",
            "organization_id": self._organization(number),
            "input": job.payload(kind, number),
        }

    def _organization(self, number: int) -> str:
        if self._has_gates:
            return "metered"
        return f"drain-{number % self._organizations}" if self._organizations > 1 else "acme"
