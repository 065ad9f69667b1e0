"""The forms of the failures page: its filter, its time, and what is decided about a group."""

from datetime import datetime
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.dashboards import time_ranges
from plugspace_queue.dashboards.failure_groups import FailureFilter
from plugspace_queue.dashboards.time_ranges import TimeRange
from plugspace_queue.domain.fingerprint import LONGEST_CODE
from plugspace_queue.models import failure_queries

KNOWN = 500
"""Groups whose types and codes the filter offers."""

UNTIL = {"1h": time_ranges.HOUR, "24h": time_ranges.DAY, "7d": 7 * time_ranges.DAY}
UNTIL_WORDS = (
    ("1h", gettext_lazy("1 hour")),
    ("24h", gettext_lazy("24 hours")),
    ("7d", gettext_lazy("7 days")),
    ("", gettext_lazy("always")),
)

STATES = {"mute": "muted", "resolve": "resolved", "reopen": "open"}
DONE = {
    "mute": gettext_lazy("muted for %(span)s"),
    "resolve": gettext_lazy("resolved"),
    "reopen": gettext_lazy("open again"),
}


def _moment_field(label: Any) -> forms.CharField:
    widget = forms.DateTimeInput({"type": "datetime-local"})
    return forms.CharField(required=False, label=label, widget=widget)


class FailureFilterForm(forms.Form):
    """The filter of the list; the time is read apart from it."""

    type = forms.CharField(required=False, max_length=32, label=gettext_lazy("Type"))
    code = forms.CharField(required=False, max_length=LONGEST_CODE, label=gettext_lazy("Code"))
    organization = forms.CharField(
        required=False, max_length=64, label=gettext_lazy("Organization (id)")
    )
    state = forms.ChoiceField(
        required=False,
        label=gettext_lazy("State"),
        choices=[
            ("", gettext_lazy("open")),
            ("muted", gettext_lazy("muted")),
            ("resolved", gettext_lazy("resolved")),
            ("all", gettext_lazy("all")),
        ],
    )

    def offer_choices(self) -> None:
        """Let types and codes be chosen among those seen lately; one query."""
        known = failure_queries.known_types_and_codes(KNOWN)
        for name, words in zip(("type", "code"), known, strict=True):
            # Also one that no group has: it finds nothing, which is no reason to hide it.
            given = self.data.get(name)
            offered = sorted({*words, given} if given else words)
            choices = [("", _("any")), *((word, word) for word in offered)]
            self.fields[name].widget = forms.Select(choices=choices)

    def clean(self) -> dict[str, Any] | None:
        unknown = sorted(set(self.data) - set(self.fields) - set(time_ranges.PARAMETERS))
        if unknown:
            text = _("There is no filter %(name)s: use %(names)s.")
            names = ", ".join([*self.fields, *time_ranges.PARAMETERS])
            raise forms.ValidationError(text % {"name": unknown[0][:64], "names": names})
        return super().clean()

    def wanted(self) -> FailureFilter:
        """What a valid form looks for."""
        data = self.cleaned_data
        return FailureFilter(
            type=data["type"],
            code=data["code"],
            organization_id=data["organization"],
            state=data["state"],
        )

    def sentences(self) -> list[str]:
        """What is not valid, for people."""
        found = []
        for name, errors in self.errors.items():
            label = self.fields[name].label or name.capitalize() if name in self.fields else ""
            found += [f"{label}: {error}" if label else str(error) for error in errors]
        return found


class TimeForm(forms.Form):
    """From a moment to another, for those who do not drag over the bars."""

    def __init__(self, time: TimeRange) -> None:
        start, end = time_ranges.moment_text(time.start), time_ranges.moment_text(time.end)
        super().__init__(initial={"from": start, "to": end})
        # The short names of addresses, of which one is a keyword of Python.
        self.fields["from"], self.fields["to"] = _moment_field(_("From")), _moment_field(_("To"))


class DecisionForm(forms.Form):
    """What an operator decides about a group."""

    verb = forms.ChoiceField(choices=[(name, name) for name in STATES])
    until = forms.ChoiceField(
        required=False, initial="1h", choices=UNTIL_WORDS, label=gettext_lazy("For")
    )
    note = forms.CharField(
        max_length=200,
        label=gettext_lazy("Note"),
        help_text=gettext_lazy("Kept with the group, and recorded in the audit."),
    )

    def columns(self, name: str, now: datetime) -> dict[str, Any]:
        """The columns of the group afterwards."""
        data = self.cleaned_data
        length = UNTIL.get(data["until"]) if data["verb"] == "mute" else None
        return {
            "state": STATES[data["verb"]],
            "muted_until": now + length if length else None,
            "note": data["note"],
            "changed_by": name,
            "changed_at": now,
            "reopened_at": None,
        }

    def words(self) -> str:
        """What was decided: `muted for 1 hour`."""
        data = self.cleaned_data
        if data["verb"] == "mute" and not data["until"]:
            return _("muted without an end")
        return str(DONE[data["verb"]]) % {"span": dict(UNTIL_WORDS)[data["until"]]}
