"""What operators did and why, in the log of Django's admin: by a press there, or over the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.db.models import Model

LOG = "django.contrib.admin"
CHANGE = 2
"""Its flag for a change; its module cannot be imported where the admin is not installed."""

AT_ONCE = 500

NAMES = {
    "limiter_max": "starts",
    "limiter_duration": "window",
    "concurrency": "slots per worker",
    "global_concurrency": "cap",
    "organization_concurrency": "cap per organization",
    "policy": "policy",
    "default_priority": "default priority",
    "quota": "quota",
    "tier_id": "tier",
    "name": "name",
    "is_suspended": "suspended",
}
"""What columns that operators change are called in the audit."""

Values = Mapping[str, Any]


def note(user_id: object, rows: Sequence[Model], said: str, reason: str = "") -> None:
    """A line of history for each row; nothing where the admin is not installed.

    Where rows have no history of their own, it is in the audit only.
    """
    if not apps.is_installed(LOG):
        return
    log: Any = apps.get_model("admin", "LogEntry")
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        log.objects.log_actions(str(user_id), some, CHANGE, sentence(said, reason))


def sentence(said: str, reason: str = "") -> str:
    """What is written down.

    >>> sentence("paused"), sentence("paused", "the provider is down")
    ('Paused.', 'Paused: the provider is down')
    """
    whole = f"{said}: {reason}" if reason else f"{said}."
    return f"{whole[0].upper()}{whole[1:]}"


def values(row: Model | None, columns: Sequence[str]) -> dict[str, Any]:
    """What a row says now, to be compared later."""
    return {column: getattr(row, column, None) for column in columns}


def differences(before: Values, after: Values) -> str:
    """What changed, for people; empty when nothing did.

    >>> differences({"limiter_max": None, "name": "a"}, {"limiter_max": 7, "name": "a"})
    'starts default → 7'
    """
    return ", ".join(
        f"{NAMES[name]} {_word(before[name])} → {_word(value)}"
        for name, value in after.items()
        if value != before[name]
    )


def _word(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value) or "none"
