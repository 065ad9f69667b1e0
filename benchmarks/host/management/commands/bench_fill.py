"""Fills a prepared database; see `filling`."""

import time
from typing import Any

from django.core.management import BaseCommand, CommandParser

from benchmarks.host import filling


class Command(BaseCommand):
    """`manage.py bench_fill --tasks 1000000`, on an empty PostgreSQL database."""

    help = "Fill an empty database with many tasks, for benchmarks only."

    def add_arguments(self, parser: CommandParser) -> None:
        """How many."""
        parser.add_argument("--tasks", type=int, default=1_000_000)

    def handle(self, *args: Any, tasks: int, **options: Any) -> None:
        """Fill, and say how long it took."""
        started = time.monotonic()
        filling.fill(tasks)
        self.stdout.write(f"{tasks} tasks in {time.monotonic() - started:.0f} s")
