"""The base of the package's commands."""

from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.functional import Promise

from plugspace_queue.errors import QueueError


class QueueCommand(BaseCommand):
    """A command with a translated summary, whose refusals are one line without a stack."""

    summary: ClassVar[Promise]

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # argparse takes no lazy text.
        self.help = str(self.summary)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except QueueError as error:
            raise CommandError(error.message) from error
