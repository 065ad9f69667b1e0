"""Plain functions that make organizations and tasks for the tests of all rooms."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.fingerprint import fingerprint as fingerprint_of
from plugspace_queue.models import Dependency, FailureGroup, Organization, Task
from plugspace_queue.services.failure_counts import FailedTask, FailureCounts

INPUTS: dict[str, dict[str, Any]] = {
    "ARCHITECT": {"prompt": "Create a SaaS dashboard"},
    "DESIGN": {"context": {"mood": "calm"}},
    "CODE": {"options": {"includeTests": False}},
    "ANALYZE": {"url": "https://example.com/"},
    "DEPLOY": {},
    "EXPORT": {"format": "zip", "ttl": 3600},
}


def make_organization(
    organization_id: str = "acme", *, tier: str | None = "enterprise", **fields: Any
) -> Organization:
    """A stored organization; enterprise by default, so that quotas are in nobody's way."""
    row, _ = Organization.objects.update_or_create(
        pk=organization_id, defaults={"tier_id": tier, **fields}
    )
    return row


def arguments(**changes: Any) -> dict[str, Any]:
    """Valid arguments of add_task for the organization acme."""
    kind = changes.get("type", "ARCHITECT")
    return {
        "type": kind,
        "project_id": "site",
        "user_id": "ann",
        "organization_id": "acme",
        "input": INPUTS[str(kind)],
        **changes,
    }


def make_task(
    *,
    type: str = "ARCHITECT",
    organization: Organization | None = None,
    state: State = State.WAITING,
    **fields: Any,
) -> Task:
    """A stored row as if it had been submitted; no gate, no charge, nothing in Redis."""
    ended = {"completed_at": timezone.now()} if state in lifecycle.FINAL else {}
    blocked = {"open_deps": 1} if state == State.BLOCKED else {}
    return Task.objects.create(
        **{
            "type": type,
            "organization": organization or make_organization(),
            "project_id": "site",
            "user_id": "ann",
            "priority": 2,
            "input": INPUTS[type],
            "context": {"previousTasks": [], "iterationCount": 0, "maxIterations": 10},
            "state": state,
            **ended,
            **blocked,
            **fields,
        }
    )


@dataclass
class Failed:
    """Tasks that failed by one cause, and their group as it is now."""

    tasks: list[Task]
    key: tuple[str, str, str]

    @property
    def group(self) -> FailureGroup:
        task_type, code, fingerprint = self.key
        return FailureGroup.objects.get(type=task_type, code=code, fingerprint=fingerprint)

    def decide(self, state: str, **columns: Any) -> None:
        """As an operator a minute later."""
        group = self.group
        values = {"state": state, "changed_at": group.last_seen + timedelta(minutes=1), **columns}
        FailureGroup.objects.filter(pk=group.pk).update(**values)


def fail_tasks(
    count: int,
    *,
    type: str = "CODE",
    code: str = "INTERNAL_ERROR",
    organization: str = "acme",
    tier: str = "enterprise",
    at: datetime | None = None,
    class_name: str = "KeyError",
    message: str = "'palette'",
    stack: str = "",
    fingerprint: str | None = None,
    state: State = State.FAILED,
) -> Failed:
    """Stored tasks that failed by one cause, counted as a worker counts them."""
    at = at or timezone.now()
    if fingerprint is None:
        fingerprint = fingerprint_of(type, class_name, message, stack)
    tasks = [
        make_task(
            type=type,
            organization=make_organization(organization, tier=tier),
            state=state,
            completed_at=at,
            error={"message": message, "code": code, "retryable": False, "stack": stack},
            error_code=code,
            fingerprint=fingerprint,
            attempt_count=1,
        )
        for _ in range(count)
    ]
    counts = FailureCounts()
    counts.note(
        FailedTask(task.pk, type, organization, at, code, fingerprint, message, class_name, stack)
        for task in tasks
    )
    counts.flush()
    return Failed(tasks, (type, code, fingerprint))


def completed_parents(*task_ids: Any) -> Counter[Any]:
    """How many of these tasks each child waits for, as a worker counts them in its commit."""
    links = Dependency.objects.filter(parent__in=task_ids)
    return Counter(links.values_list("task", flat=True))
