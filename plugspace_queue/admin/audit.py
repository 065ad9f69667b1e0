"""The audit page: who did what to which row, when, and why."""

from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from plugspace_queue.admin.changelists import NUMBER
from plugspace_queue.admin.pages import PageAdmin
from plugspace_queue.dashboards import audit
from plugspace_queue.dashboards.audit import Asked
from plugspace_queue.models import Audit

LONGEST = 150


class AuditForm(forms.Form):
    """Filters of the page."""

    who = forms.CharField(required=False, max_length=LONGEST, label="Who (user name)")
    model = forms.ChoiceField(required=False, label="What")
    object_id = forms.CharField(required=False, max_length=LONGEST, label="Id")
    since = forms.DateField(required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(required=False, widget=forms.DateInput({"type": "date"}))

    def __init__(self, *args: Any, kinds: list[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = [(kind.model, kind.name) for kind in kinds]
        self.fields["model"].choices = [("", "anything"), *named]  # type: ignore[attr-defined]

    def asked(self, before: str) -> Asked:
        """What to look for; fields that make no sense ask nothing."""
        told = self.cleaned_data if self.is_valid() else {}
        until = told.get("until")
        return Asked(
            who=told.get("who", ""),
            model=told.get("model", ""),
            object_id=told.get("object_id", ""),
            since=_midnight(told.get("since")),
            until=_midnight(until + timedelta(days=1)) if until else None,
            before=int(before) if NUMBER.fullmatch(before) else None,
        )


@admin.register(Audit)
class AuditAdmin(PageAdmin):
    """What operators did."""

    template = "audit/page.html"
    title = "Audit"

    def told(self, request: HttpRequest) -> dict[str, Any]:
        kinds = audit.kinds()
        form = AuditForm(request.GET, kinds=kinds)
        query = request.GET.copy()
        before = query.pop("before", [""])[0]
        page = audit.page(form.asked(str(before)), kinds)
        links = {"newest": query.urlencode() if before else None, "older": None}
        if page.older:
            query["before"] = str(page.older)
            links["older"] = query.urlencode()
        return {"page": page, "form": form, "links": links, "is_filtered": any(request.GET)}


def _midnight(day: Any) -> datetime | None:
    return timezone.make_aware(datetime.combine(day, time.min)) if day else None
