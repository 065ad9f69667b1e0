"""manage.py queue_stats: one line a queue."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.management.base import QueueCommand
from plugspace_queue.manager import queue_manager


class Command(QueueCommand):
    """completed and failed are lifetime counts."""

    summary = gettext_lazy("Print the figures of the six queues.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help=_("print JSON, for scripts"))

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [asdict(row) for row in queue_manager.get_queue_stats()]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        self.stdout.write("  ".join(f"{name:>9}" for name in rows[0]))
        for row in rows:
            cells = ("-" if cell is None else cell for cell in row.values())
            self.stdout.write("  ".join(f"{cell!s:>9}" for cell in cells))
