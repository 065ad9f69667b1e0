"""What operators did: the admin's own log, of our rows, page by page by id."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType

APP = "plugspace_queue"
PER_PAGE = 50


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who, what, when; what is empty is not asked."""

    who: str = ""
    model: str = ""
    object_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """The newest entries before a place."""

    entries: list[LogEntry]
    older: int | None
    """The place the next page begins from."""


def kinds() -> list[ContentType]:
    """What may have been done something to."""
    return sorted(ContentType.objects.filter(app_label=APP), key=lambda kind: kind.model)


def page(asked: Asked, known: list[ContentType]) -> AuditPage:
    """One page; its cost does not depend on how far back it lies."""
    ours = [kind.pk for kind in known if asked.model in ("", kind.model)]
    rows = LogEntry.objects.filter(content_type__in=ours).select_related("user", "content_type")
    if asked.who:
        name = get_user_model().USERNAME_FIELD
        rows = rows.filter(**{f"user__{name}": asked.who})
    if asked.object_id:
        rows = rows.filter(object_id=asked.object_id)
    if asked.since:
        rows = rows.filter(action_time__gte=asked.since)
    if asked.until:
        rows = rows.filter(action_time__lt=asked.until)
    if asked.before:
        rows = rows.filter(pk__lt=asked.before)
    found = list(rows.order_by("-pk")[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    return AuditPage(entries=shown, older=shown[-1].pk if len(found) > PER_PAGE else None)
