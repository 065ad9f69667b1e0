"""The six queues: what operators may set, pause and resume."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import PermittedMixin, StyledMixin, UncountedMixin, window_field
from plugspace_queue.admin.changelists import UncountedChangeList
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import Unavailable
from plugspace_queue.limits.policies import queue_settings
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import QueueSettings
from plugspace_queue.services.queue_stats import FRESH_FOR, QueueStats
from plugspace_queue.templatetags.psq import badge


class QueueList(UncountedChangeList):
    """The rows with their live figures, asked for once a page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        figures = _figures()
        for row in self.result_list:
            row.figures = figures.get(row.type)


class QueueForm(forms.ModelForm):
    """A queue, with a window that Redis can keep."""

    limiter_duration = window_field(required=False, help_text="Window in seconds.")

    class Meta:
        model = QueueSettings
        fields = "__all__"  # noqa: DJ007


@admin.register(QueueSettings)
class QueueSettingsAdmin(UncountedMixin, StyledMixin, PermittedMixin, admin.ModelAdmin):
    """One row a queue; an empty field means: as the code or the seed says."""

    # Limits alone are set on the dashboard.
    edits = Verb.SET_POLICY

    form = QueueForm
    changelist = QueueList
    list_display = (
        "type",
        "shown_state",
        "waiting",
        "active",
        "delayed",
        "completed",
        "failed",
        "slots",
        "limiter",
        "policy",
    )
    actions = ("pause_chosen", "resume_chosen")
    readonly_fields = (
        "type",
        "shown_state",
        "paused_at",
        "slots",
        "limiter",
        "completed",
        "failed",
    )
    fieldsets = (
        (None, {"fields": (("type", "shown_state", "paused_at"), ("completed", "failed"))}),
        ("In force", {"fields": (("slots", "limiter"),)}),
        ("Slots", {"fields": ("concurrency", "global_concurrency", "organization_concurrency")}),
        ("Starts", {"fields": (("limiter_max", "limiter_duration"), "policy", "default_priority")}),
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Limits stand in the same form.
        return super().has_change_permission(request, obj) and self.may(request, Verb.LIMIT)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(empty_value="-")
    def waiting(self, row: QueueSettings) -> int | None:
        return _figure(row, "waiting")

    @admin.display(empty_value="-")
    def active(self, row: QueueSettings) -> int | None:
        return _figure(row, "active")

    @admin.display(empty_value="-")
    def delayed(self, row: QueueSettings) -> int | None:
        return _figure(row, "delayed")

    @admin.action(description="Pause", permissions=["pause"])
    def pause_chosen(self, request: HttpRequest, queryset: QuerySet[QueueSettings]) -> None:
        steering.each(request, queryset, lambda row: queue_manager.pause(row.type), "paused")

    @admin.action(description="Resume", permissions=["pause"])
    def resume_chosen(self, request: HttpRequest, queryset: QuerySet[QueueSettings]) -> None:
        steering.each(request, queryset, lambda row: queue_manager.resume(row.type), "resumed")

    @admin.display(description="State")
    def shown_state(self, row: QueueSettings) -> SafeString:
        return badge("paused" if row.is_paused else "open")

    @admin.display(description="Slots per worker")
    def slots(self, row: QueueSettings) -> int:
        return queue_settings(row.type).concurrency

    @admin.display(description="Queue limiter")
    def limiter(self, row: QueueSettings) -> str:
        values = queue_settings(row.type)
        if values.limiter_max is None:
            return "no limit"
        return f"{values.limiter_max} starts in {values.limiter_duration:g} s"


def _figures() -> dict[str, QueueStats]:
    """The figures of each queue; none while Redis is away, for the settings must still open."""
    try:
        rows = queue_manager.get_queue_stats(max_age=FRESH_FOR)
        return {row.type: row for row in rows}
    except Unavailable:
        return {}


def _figure(row: Any, name: str) -> int | None:
    figures = getattr(row, "figures", None)
    return None if figures is None else getattr(figures, name)
