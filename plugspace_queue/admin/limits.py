"""The forms that steer a queue; each wants a reason, which goes into the audit."""

from typing import Any

from django import forms

from plugspace_queue import audit_log
from plugspace_queue.admin.base import window_field
from plugspace_queue.models import QueueSettings

COLUMNS = (
    "limiter_max",
    "limiter_duration",
    "concurrency",
    "global_concurrency",
    "organization_concurrency",
)


def reason_field() -> forms.CharField:
    """Why; one line for those who read the audit."""
    return forms.CharField(max_length=200, label="Reason", help_text="Goes into the audit.")


def _number(label: str, help_text: str) -> forms.IntegerField:
    return forms.IntegerField(
        min_value=1, max_value=1_000_000, required=False, label=label, help_text=help_text
    )


class ReasonForm(forms.Form):
    """What every press wants."""

    reason = reason_field()


class PauseForm(ReasonForm):
    """Pause or resume."""

    verb = forms.ChoiceField(choices=[("pause", "pause"), ("resume", "resume")])


class LimitsForm(forms.Form):
    """Limits of a queue; an empty field is as the code or the seed says."""

    limiter_max = _number("Starts", "In one window, over all workers.")
    limiter_duration = window_field(required=False, label="Window", help_text="Seconds.")
    concurrency = _number("Slots per worker", "Tasks one process runs at once.")
    global_concurrency = _number("Cap", "Running tasks over all workers.")
    organization_concurrency = _number("Cap per organization", "Running tasks of one tenant.")
    reason = reason_field()

    @staticmethod
    def values(row: QueueSettings) -> dict[str, Any]:
        """What the row says."""
        return audit_log.values(row, COLUMNS)

    def changes(self) -> dict[str, Any]:
        """What differs from before."""
        told = self.cleaned_data
        return {name: told[name] for name in COLUMNS if told[name] != self.initial.get(name)}

    def words(self) -> str:
        """The changes as a sentence of the audit."""
        return audit_log.differences(self.initial, self.changes())
