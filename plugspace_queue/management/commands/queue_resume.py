"""manage.py queue_resume: tasks of a queue, or of an organization, start again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import QueueError
from plugspace_queue.management.commands.queue_pause import add_target
from plugspace_queue.manager import queue_manager


class Command(BaseCommand):
    """Undoes queue_pause."""

    help = "Resume a queue (TYPE) or an organization."

    def add_arguments(self, parser: CommandParser) -> None:
        add_target(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        kind, organization_id = options["type"], options["organization"]
        try:
            queue_manager.resume(kind and TaskType(kind), organization_id=organization_id)
        except QueueError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{kind or organization_id} runs again.")
