"""Plain functions that make organizations and tasks for the tests of all rooms."""

from collections import Counter
from typing import Any

from django.utils import timezone

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Dependency, Organization, Task

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


def completed_parents(*task_ids: Any) -> Counter[Any]:
    """How many of these tasks each child waits for, as a worker counts them in its commit."""
    links = Dependency.objects.filter(parent__in=task_ids)
    return Counter(links.values_list("task", flat=True))
