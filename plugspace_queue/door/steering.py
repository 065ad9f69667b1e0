"""The manager's verbs that steer: cancel, retry, reorder, pause, and set organizations."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.door import (
    cancelling,
    organizations,
    pausing,
    queues,
    reordering,
    retrying,
)
from plugspace_queue.door.asynchronous import twin
from plugspace_queue.door.availability import database_needed
from plugspace_queue.door.refusals import counted
from plugspace_queue.door.retrying import Terms
from plugspace_queue.models import Organization, Task, Workflow
from plugspace_queue.policies import QueuePolicy

Id = uuid.UUID | str


class Steering:
    """Half of `QueueManager`. Without an organization's id a method acts for staff, on any."""

    def cancel(self, id: Id, organization_id: str | None = None) -> State:
        """Cancel a task; its state now: cancelled, or as it was while a worker has a say yet.

        A waiting task is refunded when it never started; what hangs on it is cancelled too.
        Without Redis the state is unchanged and workers finish the cancel. Raises NotFound,
        InvalidState when it has ended.
        """
        with database_needed():
            return cancelling.cancel(id, organization_id)

    def cancel_workflow(self, id: Id, organization_id: str | None = None) -> Workflow:
        """Cancel all steps that have not ended. Raises NotFound, InvalidState when all have."""
        with database_needed():
            return cancelling.cancel_workflow(id, organization_id)

    def retry(
        self,
        id: Id,
        *,
        charge: bool = True,
        reason: str = "",
        limit_requests: bool = True,
        organization_id: str | None = None,
    ) -> Task:
        """Let a failed, cancelled or expired task run again with fresh retries and ttl.

        Charged anew and counted as a request, unless staff gives it away with a reason. Raises
        NotFound, InvalidState, and what the gates of add_task raise.
        """
        terms = Terms(charge=charge, reason=reason, limit_requests=limit_requests)
        with counted(), database_needed():
            return retrying.retry(id, terms, organization_id)

    def retry_workflow(
        self,
        id: Id,
        *,
        charge: bool = True,
        reason: str = "",
        limit_requests: bool = True,
        organization_id: str | None = None,
    ) -> Workflow:
        """Go on from the step that did not complete; those after it are blocked again.

        One request; all of these steps are charged or none. Raises as `retry`.
        """
        terms = Terms(charge=charge, reason=reason, limit_requests=limit_requests)
        with counted(), database_needed():
            return retrying.retry_workflow(id, terms, organization_id)

    def set_priority(self, id: Id, priority: int, organization_id: str | None = None) -> Task:
        """Staff's override for one task. Raises NotFound, ValidationRefused, InvalidState."""
        with database_needed():
            return reordering.set_priority(id, priority, organization_id)

    def pause(self, type: TaskType | str | None = None, organization_id: str | None = None) -> None:
        """Start nothing more of a queue or an organization; running tasks go on, ttls stand still.

        Raises ValidationRefused unless exactly one is named, OrganizationUnknown.
        """
        with database_needed():
            pausing.pause(type, organization_id)

    def resume(
        self, type: TaskType | str | None = None, organization_id: str | None = None
    ) -> None:
        """Let a queue or an organization go on; raises as `pause`."""
        with database_needed():
            pausing.resume(type, organization_id)

    def set_organization(self, id: str, *, tier: str | None = None, name: str = "") -> Organization:
        """Create or change an organization; what is left out stays, tier "" takes it away.

        Raises ValidationRefused.
        """
        with database_needed():
            return organizations.set_organization(id, tier=tier, name=name)

    def change_organization(self, id: str, changes: Mapping[str, Any]) -> Organization:
        """Change an organization that is there: tier (None takes it away), name, is_suspended.

        Raises OrganizationUnknown, ValidationRefused.
        """
        with database_needed():
            return organizations.change_organization(id, changes)

    def set_queue(self, type: TaskType | str, changes: Mapping[str, Any]) -> QueuePolicy:
        """Change how a queue is set; what is left out stays, None gives back the default.

        Keys: concurrency, global_concurrency, organization_concurrency, default_priority, policy,
        limiter ({"max": starts, "duration": seconds}) or limiter_max and limiter_duration. In
        force within a second. Raises ValidationRefused.
        """
        with database_needed():
            return queues.set_queue(type, changes)

    def set_organizations(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Create or replace many (mappings with id, tier, name), all or nothing; how many.

        Raises ValidationRefused with the row's place in `details["index"]`.
        """
        with database_needed():
            return organizations.set_organizations(rows)

    acancel = twin(cancel)
    acancel_workflow = twin(cancel_workflow)
    aretry = twin(retry)
    aretry_workflow = twin(retry_workflow)
    aset_priority = twin(set_priority)
    apause = twin(pause)
    aresume = twin(resume)
    aset_organization = twin(set_organization)
    achange_organization = twin(change_organization)
    aset_queue = twin(set_queue)
    aset_organizations = twin(set_organizations)
