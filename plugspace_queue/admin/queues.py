"""The six queues: what operators may set, pause and resume."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import PauseActions
from plugspace_queue.admin.changelists import UncountedChangeList
from plugspace_queue.admin.forms import window_field
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import Unavailable
from plugspace_queue.limits.policies import queue_settings
from plugspace_queue.models import QueueSettings
from plugspace_queue.services.queue_stats import FRESH_FOR, QueueStats
from plugspace_queue.templatetags.psq import badge


class QueueList(UncountedChangeList):
    """The rows with their live figures, which are read once per page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        figures = _figures()
        for row in self.result_list:
            row.figures = figures.get(row.type)


class QueueForm(forms.ModelForm):
    """A queue, with a window that Redis can keep."""

    limiter_duration = window_field(required=False, help_text=gettext_lazy("Window in seconds."))

    class Meta:
        model = QueueSettings
        fields = "__all__"  # noqa: DJ007


@admin.register(QueueSettings)
class QueueSettingsAdmin(PauseActions):
    """One row per queue; an empty field means the default of the code or the settings."""

    # Limits alone are set on the dashboard.
    edits = Verb.SET_POLICY

    form = QueueForm
    changelist = QueueList
    list_display = (
        *("type", "shown_state", "waiting", "active", "delayed"),
        *("completed", "failed", "slots", "limiter", "policy"),
    )
    readonly_fields = (
        *("type", "shown_state", "paused_at", "slots", "limiter", "completed", "failed"),
    )
    fieldsets = (
        (None, {"fields": (("type", "shown_state", "paused_at"), ("completed", "failed"))}),
        (gettext_lazy("In force"), {"fields": (("slots", "limiter"),)}),
        (
            gettext_lazy("Slots"),
            {"fields": ("concurrency", "global_concurrency", "organization_concurrency")},
        ),
        (
            gettext_lazy("Starts"),
            {"fields": (("limiter_max", "limiter_duration"), "policy", "default_priority")},
        ),
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The same form has the limits.
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

    def pause_target(self, row: QueueSettings) -> dict[str, str]:
        return {"type": row.type}

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, row: QueueSettings) -> SafeString:
        return badge("paused" if row.is_paused else "open")

    @admin.display(description=gettext_lazy("Slots per worker"))
    def slots(self, row: QueueSettings) -> int:
        return queue_settings(row.type).concurrency

    @admin.display(description=gettext_lazy("Queue limiter"))
    def limiter(self, row: QueueSettings) -> str:
        values = queue_settings(row.type)
        if values.limiter_max is None:
            return _("no limit")
        return _("%(max)d starts in %(seconds)g s") % {
            "max": values.limiter_max,
            "seconds": values.limiter_duration,
        }


def _figures() -> dict[str, QueueStats]:
    """The figures of each queue; none without Redis, so that the settings stay available."""
    try:
        rows = queue_manager.get_queue_stats(max_age=FRESH_FOR)
        return {row.type: row for row in rows}
    except Unavailable:
        return {}


def _figure(row: Any, name: str) -> int | None:
    figures = getattr(row, "figures", None)
    return None if figures is None else getattr(figures, name)
