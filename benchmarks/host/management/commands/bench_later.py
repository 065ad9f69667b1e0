"""Tasks with a time of their own, and as many behind them that stay delayed meanwhile."""

import json
from datetime import datetime, timedelta
from typing import Any

from django.core.management import BaseCommand, CommandParser
from django.utils import timezone

from benchmarks import job
from plugspace_queue import queue_manager

FIRST = timedelta(seconds=2)
APART = timedelta(milliseconds=10)
MUCH_LATER = timedelta(hours=1)


class Command(BaseCommand):
    """`manage.py bench_later COUNT`."""

    help = "Submit delayed tasks for the benchmarks."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """How many have a time that comes soon."""
        parser.add_argument("count", type=int)

    def handle(self, *args: Any, count: int, **options: Any) -> None:
        """Those that are due in an hour first: the others' times are near."""
        later = timezone.now() + MUCH_LATER
        queue_manager.add_tasks([_item(-1, later)] * count, limit_requests=False)
        first = timezone.now() + FIRST
        items = [_item(number, first + number * APART) for number in range(count)]
        queue_manager.add_tasks(items, limit_requests=False)
        self.stdout.write(json.dumps({}))


def _item(number: int, run_at: datetime) -> dict[str, Any]:
    return {
        "type": "ARCHITECT",
        "project_id": "p1",
        "user_id": "u1",
        "organization_id": "acme",
        "input": job.payload(job.NOOP, number),
        "run_at": run_at,
    }
