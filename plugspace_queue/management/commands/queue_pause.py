"""manage.py queue_pause: no task of a queue, or of an organization, starts any more."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.management.base import QueueCommand
from plugspace_queue.manager import queue_manager


def add_target(parser: CommandParser) -> None:
    """The arguments of pause and resume: a task type, or an organization."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("type", nargs="?", type=str.upper, choices=list(TaskType), metavar="TYPE")
    target.add_argument("--organization", metavar="ID")


class Command(QueueCommand):
    """Running tasks continue; waiting ones keep their place, and their ttl is suspended."""

    summary = gettext_lazy("Pause a queue (TYPE) or an organization.")

    def add_arguments(self, parser: CommandParser) -> None:
        add_target(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        kind, organization_id = options["type"], options["organization"]
        queue_manager.pause(kind and TaskType(kind), organization_id=organization_id)
        self.stdout.write(_("%(name)s is paused.") % {"name": kind or organization_id})
