"""Tiers, with one field for the quota of each task type."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.admin.changelists import UncountedChangeList
from plugspace_queue.admin.forms import window_field
from plugspace_queue.domain import catalog
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.task_types import TaskType, quota_of
from plugspace_queue.domain.tiers import LARGEST_QUOTA, UNLIMITED
from plugspace_queue.models import TierPolicy


class TierForm(forms.ModelForm):
    """A tier; the quotas of its JSON column as one number for each task type."""

    request_window = window_field(initial=60.0, help_text=gettext_lazy("Seconds."))

    class Meta:
        model = TierPolicy
        fields = ("slug", "priority", "default_quota", "request_limit", "request_window")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for kind in catalog.public_types():
            self.fields[kind.queue_name] = self._quota_field(kind)

    def _quota_field(self, kind: TaskType) -> forms.IntegerField:
        tier = self.instance
        declared = quota_of(kind, tier.slug, {}, tier.default_quota)
        shown = _("no limit") if declared == UNLIMITED else str(declared)
        return forms.IntegerField(
            label=kind.label,
            required=False,
            min_value=UNLIMITED,
            max_value=LARGEST_QUOTA,
            initial=(tier.quotas or {}).get(kind.value),
            help_text=_("-1: no limit; empty: %(default)s.") % {"default": shown},
        )

    def clean(self) -> dict[str, Any] | None:
        data = super().clean()
        # Quotas of types that are not declared now are kept until these are declared again.
        quotas = (self.instance.quotas or {}).items()
        given = {name: quota for name, quota in quotas if name not in TaskType}
        for kind in catalog.public_types():
            quota = self.cleaned_data.get(kind.queue_name)
            if quota is not None:
                given[kind.value] = quota
        self.instance.quotas = given
        return data


@admin.register(TierPolicy)
class TierAdmin(PageAdmin):
    """Plans: priority, monthly quotas by task type, request limit."""

    edits = Verb.SET_TIERS

    form = TierForm
    changelist = UncountedChangeList
    list_per_page = 500
    list_display = ("slug", "priority", "shown_quotas", "request_limit", "request_window")
    search_fields = ("slug",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        kinds = tuple(kind.queue_name for kind in catalog.public_types())
        return (
            (None, {"fields": (("slug", "priority"),)}),
            (_("Tasks per month"), {"fields": (kinds, "default_quota")}),
            (_("Requests"), {"fields": (("request_limit", "request_window"),)}),
        )

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # The fields of the quotas are the form's own; Django looks for fields of the model.
        return super().get_form(request, obj, change, **{**kwargs, "fields": TierForm.Meta.fields})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    @admin.display(description=gettext_lazy("Tasks per month"))
    def shown_quotas(self, tier: TierPolicy) -> str:
        quotas = {kind: tier.quota(kind) for kind in catalog.public_types()}
        if set(quotas.values()) == {UNLIMITED}:
            return _("no limit")
        return ", ".join(f"{kind} {'∞' if n == UNLIMITED else n}" for kind, n in quotas.items())
