"""The forms of actions; each wants a reason, which goes into the audit."""

import json
from datetime import timedelta
from typing import Any, NamedTuple

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue import audit_log
from plugspace_queue.domain.task_options import LONGEST_WINDOW, SHORTEST_WINDOW
from plugspace_queue.limits import policies
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


LENGTHS = {f"{hours}h": timedelta(hours=hours) for hours in (1, 2, 8, 24)}
LENGTH_WORDS = (
    ("", gettext_lazy("always: the settings of the queue change")),
    ("1h", gettext_lazy("1 hour")),
    ("2h", gettext_lazy("2 hours")),
    ("8h", gettext_lazy("8 hours")),
    ("24h", gettext_lazy("24 hours")),
)
MOMENT = "%Y-%m-%dT%H:%M:%S"
"""Of a hidden field, in the time zone of the page."""


class MomentField(forms.DateTimeField):
    """A moment in the time zone of the page, chosen with the browser's own picker."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class Difference(NamedTuple):
    """One limit before and after a change."""

    label: str
    before: Any
    after: Any


class LimitsForm(ReasonForm):
    """Limits of a queue, always or until an end; fields begin with the values in force.

    An empty field leaves it to the code or the declaration of the type.
    """

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
    length = forms.ChoiceField(required=False, choices=LENGTH_WORDS, label=gettext_lazy("For"))
    until = MomentField(
        required=False,
        label=gettext_lazy("Or until"),
        help_text=gettext_lazy("Afterwards the settings of the queue count again."),
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    field_order = (*COLUMNS, "length", "until", "reason")

    def __init__(self, row: QueueSettings, data: Any = None, **kwargs: Any) -> None:
        self.row = row
        policy = policies.without_overrides(row)
        values = {name: getattr(policy, name) for name in COLUMNS}
        super().__init__(data, initial={**values, "seen": json.dumps(values)}, **kwargs)

    @property
    def shown_fields(self) -> list[forms.BoundField]:
        """The fields of the page of the queue."""
        return [field for field in self if not field.is_hidden]

    @property
    def is_confirmed(self) -> bool:
        """Whether the differences were shown, and the limits did not change since."""
        data = self.cleaned_data
        return bool(data["confirmed"]) and data["seen"] == self.initial["seen"]

    def clean(self) -> dict[str, Any] | None:
        data, now = super().clean() or {}, timezone.now()
        length, until = data.get("length"), data.get("until")
        if length and until:
            self.add_error("until", _("Give a length or an end, not both."))
        elif until and until <= now:
            self.add_error("until", _("The end must be in the future."))
        elif length:
            data["until"] = until = now + LENGTHS[length]
        if until and not self.errors:
            self._require_values(data)
        return data

    def _require_values(self, data: dict[str, Any]) -> None:
        """An override is a number: it cannot give back a default, nor take a limit away."""
        changed = {name for name in COLUMNS if data[name] != self.initial[name]}
        if changed & {"limiter_max", "limiter_duration"}:
            changed |= {"limiter_max", "limiter_duration"}
        for name in sorted(changed):
            if data[name] is None:
                self.add_error(name, _("A limit until an end needs a number."))

    def changes(self) -> dict[str, Any]:
        """What is set: the columns of the row, or the values of overrides."""
        data = self.cleaned_data
        changed = {name: data[name] for name in COLUMNS if data[name] != self.initial[name]}
        if data["until"]:
            return changed
        return {name: value for name, value in changed.items() if value != getattr(self.row, name)}

    def overrides(self) -> dict[str, Any]:
        """The same as arguments of `override_queue`."""
        data, changes = self.cleaned_data, self.changes()
        limiter = {"max": data["limiter_max"], "duration": data["limiter_duration"]}
        is_limiter = {"limiter_max", "limiter_duration"} & set(changes)
        rest = {name: n for name, n in changes.items() if not name.startswith("limiter_")}
        return {**rest, **({"limiter": limiter} if is_limiter else {})}

    def differences(self) -> list[Difference]:
        """The changes for people: what counts now, and what will."""
        default = _("the default")
        return [
            Difference(
                str(self.fields[name].label),
                _("no limit") if self.initial[name] is None else self.initial[name],
                default if value is None else value,
            )
            for name, value in self.changes().items()
        ]

    def hidden(self) -> list[tuple[str, str]]:
        """The form again, for the page that confirms it; its end is a moment now."""
        data = self.cleaned_data
        values = {name: "" if data[name] is None else str(data[name]) for name in COLUMNS}
        until = data["until"]
        values["until"] = timezone.localtime(until).strftime(MOMENT) if until else ""
        more = {"reason": data["reason"], "seen": self.initial["seen"], "confirmed": "1"}
        return [*values.items(), *more.items()]

    def words(self) -> str:
        """The changes of the row as a sentence of the audit."""
        return audit_log.differences(audit_log.values(self.row, COLUMNS), self.changes())
