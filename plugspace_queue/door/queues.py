"""A queue as operators set it: slots, caps, limiter, policy. None means: as code and seed say."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction

from plugspace_queue import policies
from plugspace_queue.domain.enums import Policy, TaskType
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.door import submitting, validating
from plugspace_queue.models import QueueSettings
from plugspace_queue.policies import LONGEST_WINDOW, MOST, SHORTEST_WINDOW, QueuePolicy


def set_queue(task_type: object, changes: Mapping[str, Any]) -> QueuePolicy:
    """Change some of a queue's values; those in force now. Raises ValidationRefused."""
    kind = validating.word("type", task_type, TaskType)
    columns = _columns(changes)
    with transaction.atomic(using=submitting.alias()):
        QueueSettings.objects.get_or_create(type=kind.value)
        row = QueueSettings.objects.select_for_update(no_key=True).get(type=kind.value)
        for column, value in columns.items():
            setattr(row, column, value)
        if columns:
            row.save(update_fields=list(columns))
    return policies.in_force(row)


def _columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in _FIELDS:
            validating.refuse(str(field), "is not known")
        columns |= _FIELDS[field](field, value)
    return columns


def _count(field: str, value: object) -> dict[str, Any]:
    return {field: None if value is None else validating.whole(field, value, 1, MOST)}


def _priority(field: str, value: object) -> dict[str, Any]:
    known = None if value is None else validating.whole(field, value, 0, LOWEST_PRIORITY)
    return {field: known}


def _policy(field: str, value: object) -> dict[str, Any]:
    return {field: Policy.STRICT if value is None else validating.word(field, value, Policy)}


def _limiter(field: str, value: object) -> dict[str, Any]:
    if value is None:
        return {"limiter_max": None, "limiter_duration": None}
    if not isinstance(value, Mapping) or set(value) != {"max", "duration"}:
        validating.refuse(field, "must hold max and duration")
    return {
        "limiter_max": validating.whole(f"{field}.max", value["max"], 1, MOST),
        "limiter_duration": _seconds(f"{field}.duration", value["duration"]),
    }


def _window(field: str, value: object) -> dict[str, Any]:
    return {field: None if value is None else _seconds(field, value)}


def _seconds(field: str, value: object) -> float:
    return validating.seconds(field, value, SHORTEST_WINDOW, LONGEST_WINDOW)


_FIELDS: dict[str, Callable[[str, object], dict[str, Any]]] = {
    "concurrency": _count,
    "global_concurrency": _count,
    "organization_concurrency": _count,
    "limiter": _limiter,
    "limiter_max": _count,
    "limiter_duration": _window,
    "policy": _policy,
    "default_priority": _priority,
}
