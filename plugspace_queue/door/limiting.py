"""What operators set for a queue while it works: starts per window, and caps of running tasks."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from plugspace_queue.door import submitting, validating
from plugspace_queue.models import QueueSettings
from plugspace_queue.types import TaskType

NAMES = (
    "limiter_max",
    "limiter_duration",
    "concurrency",
    "global_concurrency",
    "organization_concurrency",
)

LONGEST_WINDOW = 31 * 86_400.0
"""Seconds; Redis could not keep a window that never ends."""


def set_limits(task_type: object, limits: Mapping[str, Any]) -> QueueSettings:
    """Change the named limits of a queue; None is as the code or the seed says.

    In force within a second, for what starts from then on. Raises ValidationRefused.
    """
    kind = validating.word("type", task_type, TaskType)
    if strange := sorted(set(limits) - set(NAMES)):
        validating.refuse(strange[0], f"must be one of {', '.join(NAMES)}")
    with transaction.atomic(using=submitting.alias()):
        QueueSettings.objects.get_or_create(type=kind.value)
        row = QueueSettings.objects.select_for_update(no_key=True).get(type=kind.value)
        for name, value in limits.items():
            setattr(row, name, value)
        _require_valid(row)
        row.save(update_fields=list(limits))
    return row


def _require_valid(row: QueueSettings) -> None:
    if (row.limiter_duration or 0) > LONGEST_WINDOW:
        validating.refuse("limiter_duration", f"must be at most {LONGEST_WINDOW:g} s")
    try:
        row.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        validating.refuse(field, messages[0])
