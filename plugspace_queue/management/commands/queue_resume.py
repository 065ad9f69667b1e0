"""manage.py queue_resume: tasks of a queue, or of an organization, start again."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.management.base import QueueCommand
from plugspace_queue.management.commands.queue_pause import add_target
from plugspace_queue.manager import queue_manager


class Command(QueueCommand):
    """Undoes queue_pause."""

    summary = gettext_lazy("Resume a queue (TYPE) or an organization.")

    def add_arguments(self, parser: CommandParser) -> None:
        add_target(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        kind, organization_id = options["type"], options["organization"]
        queue_manager.resume(kind and TaskType(kind), organization_id=organization_id)
        self.stdout.write(_("%(name)s is resumed.") % {"name": kind or organization_id})
