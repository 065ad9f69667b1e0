"""The forms of actions; each wants a reason, which goes into the audit."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from plugspace_queue import audit_log
from plugspace_queue.domain.task_options import LONGEST_WINDOW, SHORTEST_WINDOW
from plugspace_queue.models import QueueSettings

COLUMNS = (
    "limiter_max",
    "limiter_duration",
    "concurrency",
    "global_concurrency",
    "organization_concurrency",
)


def window_field(**options: Any) -> forms.FloatField:
    """Seconds of a limiter's window; Redis could not keep one that never ends."""
    return forms.FloatField(min_value=SHORTEST_WINDOW, max_value=LONGEST_WINDOW, **options)


def _number(label: Any, help_text: Any) -> forms.IntegerField:
    return forms.IntegerField(
        min_value=1, max_value=1_000_000, required=False, label=label, help_text=help_text
    )


class ReasonForm(forms.Form):
    """Why; one line for the readers of the audit."""

    reason = forms.CharField(
        max_length=200,
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("Recorded in the audit."),
    )


class PauseForm(ReasonForm):
    """Pause or resume."""

    verb = forms.ChoiceField(choices=[(verb, verb) for verb in ("pause", "resume")])


class LimitsForm(ReasonForm):
    """Limits of a queue; an empty field leaves it to the code or the declaration of the type."""

    limiter_max = _number(gettext_lazy("Starts"), gettext_lazy("In one window, over all workers."))
    limiter_duration = window_field(
        required=False, label=gettext_lazy("Window"), help_text=gettext_lazy("Seconds.")
    )
    concurrency = _number(
        gettext_lazy("Slots per worker"), gettext_lazy("Tasks that one process runs at once.")
    )
    global_concurrency = _number(
        gettext_lazy("Cap"), gettext_lazy("Running tasks over all workers.")
    )
    organization_concurrency = _number(
        gettext_lazy("Cap per organization"), gettext_lazy("Running tasks of one organization.")
    )
    field_order = COLUMNS

    @staticmethod
    def values(row: QueueSettings) -> dict[str, Any]:
        """What the row says."""
        return audit_log.values(row, COLUMNS)

    def changes(self) -> dict[str, Any]:
        """What differs from before."""
        data = self.cleaned_data
        return {name: data[name] for name in COLUMNS if data[name] != self.initial.get(name)}

    def words(self) -> str:
        """The changes as a sentence of the audit."""
        return audit_log.differences(self.initial, self.changes())
