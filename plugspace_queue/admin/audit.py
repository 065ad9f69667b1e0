"""The audit page: who did what to which row, when, and why; read from the admin's own log."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import SinglePageAdmin
from plugspace_queue.admin.changelists import CURSOR, NUMBER, cut
from plugspace_queue.models import Audit

PER_PAGE = 50
LONGEST = 150


def _day_field(label: Any) -> forms.DateField:
    return forms.DateField(required=False, label=label, widget=forms.DateInput({"type": "date"}))


class AuditForm(forms.Form):
    """Filters of the page; one that makes no sense is ignored with all others."""

    who = forms.CharField(required=False, max_length=LONGEST, label=gettext_lazy("Who (user name)"))
    model = forms.ChoiceField(required=False, label=gettext_lazy("What"))
    object_id = forms.CharField(required=False, max_length=LONGEST, label=gettext_lazy("Id"))
    since = _day_field(gettext_lazy("Since"))
    until = _day_field(gettext_lazy("Until"))

    def __init__(self, *args: Any, types: Sequence[ContentType], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.types = types
        named = [(row.model, row.name) for row in types]
        self.fields["model"].choices = [("", _("anything")), *named]  # type: ignore[attr-defined]

    def entries(self) -> QuerySet[LogEntry]:
        """The entries that the filters find, the newest first."""
        asked = self.cleaned_data if self.is_valid() else {}
        types = [row.pk for row in self.types if asked.get("model") in (None, "", row.model)]
        rows = LogEntry.objects.filter(content_type__in=types)
        lookups = {
            f"user__{get_user_model().USERNAME_FIELD}": asked.get("who"),
            "object_id": asked.get("object_id"),
            "action_time__gte": _midnight(asked.get("since"), 0),
            "action_time__lt": _midnight(asked.get("until"), 1),
        }
        rows = rows.filter(**{name: value for name, value in lookups.items() if value})
        return rows.select_related("user", "content_type").order_by("-pk")


@admin.register(Audit)
class AuditAdmin(SinglePageAdmin):
    """What operators did."""

    template = "audit/page.html"
    title = gettext_lazy("Audit")

    def page_context(self, request: HttpRequest, row: None) -> dict[str, Any]:
        types = ContentType.objects.filter(app_label=self.opts.app_label).order_by("model")
        form = AuditForm(request.GET, types=list(types))
        query = request.GET.copy()
        before = str(query.pop(CURSOR, [""])[0])
        rows = form.entries()
        if NUMBER.fullmatch(before):
            rows = rows.filter(pk__lt=int(before))
        entries, has_older = cut(rows, PER_PAGE)
        links = {"newest": query.urlencode() if before else None, "older": None}
        if has_older:
            query[CURSOR] = str(entries[-1].pk)
            links["older"] = query.urlencode()
        return {"entries": entries, "form": form, "links": links, "is_filtered": any(request.GET)}


def _midnight(day: Any, later: int) -> datetime | None:
    """The first moment of a day, or of one that is `later` days after it."""
    if not day:
        return None
    return timezone.make_aware(datetime.combine(day + timedelta(days=later), time.min))
