"""manage.py queue_key: issue an API key of an organization; it is printed once."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.enums import Scope
from plugspace_queue.errors import OrganizationUnknown, QueueError
from plugspace_queue.management.base import QueueCommand
from plugspace_queue.manager import queue_manager
from plugspace_queue.services.credentials import DEFAULT_SCOPES


class Command(QueueCommand):
    """The key alone goes to standard output, so that a script can take it."""

    summary = gettext_lazy("Issue an API key of an organization and print it once.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", metavar="ORGANIZATION")
        parser.add_argument(
            "--scope",
            action="append",
            choices=[scope.value for scope in Scope],
            help=_("what the key may do; may be repeated (default: read and submit)"),
        )
        parser.add_argument("--name", default="", help=_("a name that identifies the key"))
        parser.add_argument("--days", type=float, metavar="N", help=_("valid for N days only"))

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
            text = _("There is no organization %(id)r.")
            raise CommandError(text % {"id": options["organization"]}) from error
        except QueueError as error:
            raise CommandError(str(error)) from error
        text = _("%(key)s (%(scopes)s); it is shown only this once:")
        self.stderr.write(text % {"key": row, "scopes": ", ".join(row.scopes)})
        self.stdout.write(secret)
