"""manage.py queue_stats: one line a queue."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from plugspace_queue.errors import QueueError
from plugspace_queue.manager import queue_manager


class Command(BaseCommand):
    """completed and failed are lifetime counts."""

    help = "Print the figures of the six queues."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rows = [asdict(row) for row in queue_manager.get_queue_stats()]
        except QueueError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        self.stdout.write("  ".join(f"{name:>9}" for name in rows[0]))
        for row in rows:
            cells = ("-" if cell is None else cell for cell in row.values())
            self.stdout.write("  ".join(f"{cell!s:>9}" for cell in cells))
