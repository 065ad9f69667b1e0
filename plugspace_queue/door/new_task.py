"""A task that is asked for, every argument checked: what submitting works with."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.tiers import LOWEST_PRIORITY, accepted_priority
from plugspace_queue.door import validating
from plugspace_queue.door.lineage import CallerContext
from plugspace_queue.errors import PermissionRefused, ValidationRefused
from plugspace_queue.policies import Plan, queue_settings

REQUIRED = ("type", "project_id", "user_id", "organization_id", "input")
OPTIONAL = {
    "priority": None,
    "context": None,
    "max_retries": None,
    "ttl": None,
    "run_at": None,
    "depends_on": (),
    "idempotency_key": None,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTask:
    """The checked arguments of add_task; None means: as the settings or the tier say."""

    type: TaskType
    organization_id: str
    project_id: str
    user_id: str
    input: dict[str, Any]
    context: CallerContext
    priority: int | None
    max_retries: int | None
    ttl: int | None
    run_at: datetime | None
    depends_on: tuple[uuid.UUID, ...]
    idempotency_key: str | None
    bulk: str | None = None
    """The fingerprint of the bulk whose key this one's is derived from."""

    @property
    def seconds_to_live(self) -> int:
        return get_settings().default_ttl if self.ttl is None else self.ttl

    def wake_at(self, now: datetime) -> datetime | None:
        """When it may run, if that is ahead; a time that is past means now."""
        return self.run_at if self.run_at and self.run_at > now else None

    def deadline(self, now: datetime) -> datetime:
        """First start not after."""
        return (self.wake_at(now) or now) + timedelta(seconds=self.seconds_to_live)

    def fingerprint(self) -> str:
        """Equal for equal arguments, whatever the order of keys."""
        alone = self._fingerprint_alone()
        return alone if self.bulk is None else fingerprint_of("item", task=alone, bulk=self.bulk)

    def of_bulk(self, bulk: str, key: str) -> Self:
        """The same task, repeated only by the same item of the same bulk."""
        if self.idempotency_key is not None:
            validating.refuse("idempotency_key", "cannot be given beside one for the whole bulk")
        return replace(self, idempotency_key=key, bulk=bulk)

    def _fingerprint_alone(self) -> str:
        return fingerprint_of(
            "task",
            type=self.type.value,
            project=self.project_id,
            user=self.user_id,
            input=self.input,
            context=self.context.as_data(),
            priority=self.priority,
            max_retries=self.max_retries,
            ttl=self.ttl,
            run_at=self.run_at.isoformat() if self.run_at else None,
            depends_on=[str(task_id) for task_id in self.depends_on],
        )


def fingerprint_of(subject: str, **arguments: Any) -> str:
    """The hash of the canonical JSON of all arguments."""
    text = validating.canonical([subject, arguments])
    return hashlib.sha256(text.encode()).hexdigest()


def checked(arguments: Mapping[str, Any], now: datetime) -> NewTask:
    """The new task in a mapping of add_task's arguments; raises ValidationRefused."""
    given = complete(arguments)
    kind = validating.word("type", given["type"], TaskType)
    context = CallerContext.checked(given["context"])
    return NewTask(
        type=kind,
        organization_id=given["organization_id"],
        project_id=validating.name("project_id", given["project_id"]),
        user_id=validating.name("user_id", given["user_id"]),
        input=validating.task_input(kind, given["input"], beside=context.size),
        context=context,
        priority=checked_priority(given["priority"]),
        max_retries=_optional(given, "max_retries", 0, validating.MOST_RETRIES),
        ttl=checked_ttl(given["ttl"]),
        run_at=None
        if given["run_at"] is None
        else validating.moment("run_at", given["run_at"], now),
        depends_on=validating.task_ids("depends_on", given["depends_on"]),
        idempotency_key=checked_key(given["idempotency_key"]),
    )


def checked_priority(value: object) -> int | None:
    """0 to 3, or None for the tier's."""
    return None if value is None else validating.whole("priority", value, 0, LOWEST_PRIORITY)


def checked_ttl(value: object) -> int | None:
    """Seconds, or None for DEFAULT_TTL."""
    return None if value is None else validating.whole("ttl", value, 1, validating.LONGEST_TTL)


def checked_key(value: object, longest: int = validating.LONGEST_KEY) -> str | None:
    """An idempotency key, or None for none."""
    return None if value is None else validating.name("idempotency_key", value, longest)


def granted_priority(asked: int | None, plan: Plan, task_type: TaskType) -> int:
    """The priority fixed at acceptance; PermissionRefused when asked above what the tier gives."""
    highest = plan.priority
    if highest is None:
        highest = queue_settings(task_type).default_priority
    granted = accepted_priority(plan.priority, highest, asked)
    if granted is None:
        raise PermissionRefused(
            f"priority: {asked} is above what this organization's tier gives; {highest} is its"
            " highest.",
            field="priority",
            highest=highest,
        )
    return granted


def complete(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments by name, defaults filled in; ValidationRefused for a wrong set of names."""
    if not isinstance(arguments, Mapping):
        raise ValidationRefused("Each item must be a mapping of add_task's arguments.")
    given = OPTIONAL | dict(arguments)
    for field in REQUIRED:
        if field not in given:
            validating.refuse(field, "is missing")
    for field in given.keys() - {*REQUIRED, *OPTIONAL}:
        validating.refuse(str(field), "is no argument of add_task")
    return given


def _optional(given: Mapping[str, Any], field: str, low: int, high: int) -> int | None:
    return None if given[field] is None else validating.whole(field, given[field], low, high)
