"""Tiers, with one field for each of the six quotas."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.admin.changelists import UncountedChangeList
from plugspace_queue.admin.forms import window_field
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models import TierPolicy


def _quota_field(kind: TaskType) -> forms.IntegerField:
    return forms.IntegerField(
        label=kind.value, min_value=UNLIMITED, help_text=gettext_lazy("-1: no limit")
    )


class TierForm(forms.ModelForm):
    """A tier; the six quotas of its JSON column as six numbers."""

    architect = _quota_field(TaskType.ARCHITECT)
    design = _quota_field(TaskType.DESIGN)
    code = _quota_field(TaskType.CODE)
    analyze = _quota_field(TaskType.ANALYZE)
    deploy = _quota_field(TaskType.DEPLOY)
    export = _quota_field(TaskType.EXPORT)
    request_window = window_field(initial=60.0, help_text=gettext_lazy("Seconds."))

    class Meta:
        model = TierPolicy
        fields = ("slug", "priority", "request_limit", "request_window")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for kind in TaskType:
            self.fields[kind.queue_name].initial = (self.instance.quotas or {}).get(kind.value)

    def clean(self) -> dict[str, Any] | None:
        data = super().clean()
        self.instance.quotas = {
            kind.value: self.cleaned_data.get(kind.queue_name, 0) for kind in TaskType
        }
        return data


@admin.register(TierPolicy)
class TierAdmin(PageAdmin):
    """Plans: priority, six monthly quotas, request limit."""

    edits = Verb.SET_TIERS

    form = TierForm
    changelist = UncountedChangeList
    list_per_page = 500
    list_display = ("slug", "priority", "shown_quotas", "request_limit", "request_window")
    search_fields = ("slug",)
    fieldsets = (
        (None, {"fields": (("slug", "priority"),)}),
        (
            gettext_lazy("Tasks per month"),
            {"fields": (tuple(kind.queue_name for kind in TaskType),)},
        ),
        (gettext_lazy("Requests"), {"fields": (("request_limit", "request_window"),)}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    @admin.display(description=gettext_lazy("Tasks per month"))
    def shown_quotas(self, tier: TierPolicy) -> str:
        quotas = {kind: tier.quota(kind) for kind in TaskType}
        if set(quotas.values()) == {UNLIMITED}:
            return _("no limit")
        return ", ".join(f"{kind} {'∞' if n == UNLIMITED else n}" for kind, n in quotas.items())
