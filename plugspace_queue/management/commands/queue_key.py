"""manage.py queue_key: issue an API key of an organization; it is printed once."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from plugspace_queue.domain.enums import Scope
from plugspace_queue.errors import OrganizationUnknown, QueueError
from plugspace_queue.manager import queue_manager
from plugspace_queue.services.credentials import DEFAULT_SCOPES


class Command(BaseCommand):
    """The key alone goes to standard output, so that a script can take it."""

    help = "Issue an API key of an organization and print it once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", metavar="ORGANIZATION")
        parser.add_argument(
            "--scope",
            action="append",
            choices=[scope.value for scope in Scope],
            help="what the key may do; may be repeated (default: read and submit)",
        )
        parser.add_argument("--name", default="", help="a name to know it by")
        parser.add_argument("--days", type=float, metavar="N", help="valid for N days only")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        try:
            row, secret = queue_manager.create_key(
                options["organization"],
                scopes=options["scope"] or DEFAULT_SCOPES,
                name=options["name"],
                expires_at=expires_at,
            )
        except OrganizationUnknown as error:
            raise CommandError(f"There is no organization {options['organization']!r}.") from error
        except QueueError as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{row} ({', '.join(row.scopes)}); it is shown only this once:")
        self.stdout.write(secret)
