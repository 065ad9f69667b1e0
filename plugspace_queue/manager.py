"""The Python interface: one method for each verb, on `queue_manager`.

Holds no state; every method only delegates, and says in its docstring what it raises.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, overload

from asgiref.sync import sync_to_async
from django.utils.translation import gettext as _
from pydantic import BaseModel, ValidationError

from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName, Kind, Role, Scope, State, Status
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import InvalidResult, TaskFailed
from plugspace_queue.events import listeners
from plugspace_queue.explain import service
from plugspace_queue.limits.policies import QueuePolicy
from plugspace_queue.metrics import RefusalsCounted
from plugspace_queue.models import ApiKey, Membership, Organization, Override, Task, Workflow
from plugspace_queue.processing import registry
from plugspace_queue.schemas.explanation import Explanation
from plugspace_queue.schemas.requests import TaskRequest
from plugspace_queue.services import (
    bulk_submission,
    cancellation,
    credentials,
    lookup,
    organizations,
    overrides,
    queue_stats,
    queues,
    retries,
    submission,
    tier_changes,
    waits,
)
from plugspace_queue.services.calls import database_needed, twin
from plugspace_queue.services.credentials import DEFAULT_SCOPES
from plugspace_queue.services.idempotency import SubmitResult
from plugspace_queue.services.organizations import SyncResult
from plugspace_queue.services.queue_stats import QueueStats
from plugspace_queue.services.retries import RetryCharge
from plugspace_queue.workflows.submission import WorkflowHandle, submit_workflow

Id = uuid.UUID | str


class QueueManager:
    """Submit, look up, steer. Every method may raise Unavailable when the database is away."""

    def add_task(
        self,
        type: TaskType | str,
        *,
        project_id: str,
        user_id: str,
        organization_id: str,
        input: Mapping[str, Any] | BaseModel,
        priority: int | None = None,
        context: Mapping[str, Any] | None = None,
        max_retries: int | None = None,
        ttl: int | None = None,
        run_at: datetime | None = None,
        depends_on: Iterable[Id | Task] = (),
        idempotency_key: str | None = None,
        limit_requests: bool = True,
    ) -> Task:
        """Store a task and have it run as soon as a slot is free and its turn has come.

        Joins the caller's transaction; nothing is published before its commit. Raises
        OrganizationUnknown, OrganizationSuspended, RequestRateLimited, ValidationRefused,
        PayloadTooLarge, PermissionRefused (priority), NotFound and InvalidState (parents),
        IdempotencyConflict, QuotaExceeded; nothing is stored then.
        """
        return self.submit_task(
            {
                "type": type,
                "project_id": project_id,
                "user_id": user_id,
                "organization_id": organization_id,
                "input": input,
                "priority": priority,
                "context": context,
                "max_retries": max_retries,
                "ttl": ttl,
                "run_at": run_at,
                "depends_on": depends_on,
                "idempotency_key": idempotency_key,
            },
            limit_requests=limit_requests,
        ).subject

    def submit_task(
        self, arguments: Mapping[str, Any] | TaskRequest, *, limit_requests: bool = True
    ) -> SubmitResult[Task]:
        """add_task for who must know whether an idempotency key made it a replay."""
        with RefusalsCounted():
            return submission.submit_task(arguments, limit_requests=limit_requests)

    def add_tasks(
        self, items: Iterable[Mapping[str, Any]], *, limit_requests: bool = True
    ) -> list[Task]:
        """Store many tasks in one transaction, all or nothing; in the order given.

        Items are mappings of add_task's arguments. One request is counted per organization.
        Raises what add_task raises, with the item's place in `details["index"]`.
        """
        done = self.submit_tasks(items, limit_requests=limit_requests)
        return [entry.subject for entry in done]

    def submit_tasks(
        self,
        items: Iterable[Mapping[str, Any] | TaskRequest],
        *,
        limit_requests: bool = True,
        idempotency_key: str | None = None,
    ) -> list[SubmitResult[Task]]:
        """add_tasks for who must know which items are replays, or has one key for all of them.

        With that key no item has one of its own, and another list of items is a conflict.
        """
        with RefusalsCounted():
            return bulk_submission.submit_tasks(
                items, limit_requests=limit_requests, idempotency_key=idempotency_key
            )

    def add_workflow(
        self,
        project_id: str,
        user_id: str,
        organization_id: str,
        input: Mapping[str, Any],
        priority: int | None = None,
        *,
        kind: Kind | str = Kind.CREATE,
        context: Mapping[str, Any] | None = None,
        ttl: int | None = None,
        idempotency_key: str | None = None,
        limit_requests: bool = True,
    ) -> WorkflowHandle:
        """Store all steps of a workflow; the first may run, each other when its parent completes.

        Quota is reserved for all steps or none. Raises what add_task raises.
        """
        with RefusalsCounted():
            return submit_workflow(
                {
                    "project_id": project_id,
                    "user_id": user_id,
                    "organization_id": organization_id,
                    "input": input,
                    "priority": priority,
                    "kind": kind,
                    "context": context,
                    "ttl": ttl,
                    "idempotency_key": idempotency_key,
                },
                limit_requests=limit_requests,
            )

    def get_task(self, id: Id, organization_id: str | None = None) -> Task:
        """The task; NotFound when it is not there or another organization's."""
        with database_needed():
            return lookup.task_of(id, organization_id)

    def get_workflow(self, id: Id, organization_id: str | None = None) -> Workflow:
        """The workflow with its steps; NotFound as in get_task."""
        with database_needed():
            return lookup.workflow_of(id, organization_id)

    def get_organization_tasks(
        self,
        organization_id: str,
        status: Status | str | Mapping[str, Any] | None = None,
        type: TaskType | str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> list[Task]:
        """A page of an organization's tasks, the newest first; `limit` to 1000, `offset` to 10,000.

        All four may be given as one mapping in the place of `status`:
        `get_organization_tasks("acme", {"status": "processing", "type": "CODE"})`. Raises
        ValidationRefused.
        """
        asked = {"status": status, "type": type, "limit": limit, "offset": offset}
        with database_needed():
            return lookup.tasks_of(organization_id, **lookup.page_options(asked))

    @overload
    def get_queue_stats(self, type: None = None, *, max_age: float = 0.0) -> list[QueueStats]: ...

    @overload
    def get_queue_stats(self, type: TaskType | str, *, max_age: float = 0.0) -> QueueStats: ...

    def get_queue_stats(
        self, type: TaskType | str | None = None, *, max_age: float = 0.0
    ) -> list[QueueStats] | QueueStats:
        """How the queues stand, a row for each; of a type its one row.

        A row has `type`, `waiting`, `active`, `completed`, `failed` and `delayed`. `active` is
        None for a queue whose data in Redis is damaged. Counts what waits, or takes this
        process's last count when that is at most `max_age` seconds old. Raises ValidationRefused,
        and Unavailable without Redis.
        """
        with database_needed():
            rows = queue_stats.queue_stats(type, max_age=max_age)
        return rows if type is None else rows[0]

    def explain(self, id: Id, organization_id: str | None = None) -> Explanation:
        """Why the task is where it is: gates, slots, place in line, when it is looked at again.

        With an organization's id it names nothing of others, and only counts them. Raises NotFound;
        Unavailable without Redis, unless the task has ended or is blocked.
        """
        with database_needed():
            return service.explain(id, organization_id)

    def wait(self, id: Id, timeout: float = 30.0, *, organization_id: str | None = None) -> Any:
        """Block until the task has ended; its result as the output model of its type.

        Raises TaskFailed (with `code` and `task`) for a task that failed, was cancelled or
        expired, or whose result its model does not take; WaitTimeout after `timeout` seconds (at
        most a day), InvalidState inside an open transaction, NotFound, ValidationRefused,
        Unavailable.
        """
        return _output(waits.in_thread(waits.of_task(id, timeout, organization_id)))

    async def await_result(
        self, id: Id, timeout: float = 30.0, *, organization_id: str | None = None
    ) -> Any:
        """Awaitable twin of `wait`; no thread waits."""
        asked = await sync_to_async(waits.of_task)(id, timeout, organization_id)
        return _output(await waits.in_loop(asked))

    def wait_workflow(
        self, id: Id, timeout: float = 30.0, *, organization_id: str | None = None
    ) -> dict[str, Any]:
        """Block until all steps have ended; the result of each by the name of the step (its TYPE).

        Raises as `wait`; TaskFailed is about the step that failed.
        """
        return _outputs(waits.in_thread(waits.of_workflow(id, timeout, organization_id)))

    async def await_workflow(
        self, id: Id, timeout: float = 30.0, *, organization_id: str | None = None
    ) -> dict[str, Any]:
        """Awaitable twin of `wait_workflow`; no thread waits."""
        asked = await sync_to_async(waits.of_workflow)(id, timeout, organization_id)
        return _outputs(await waits.in_loop(asked))

    def register_worker(
        self,
        type: TaskType | str,
        fn: Callable[..., Any],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        limiter: Mapping[str, float] | None = None,
        isolation: str | None = None,
        retry_on: tuple[type[BaseException], ...] = (),
        output: Any = None,
        replace: bool = False,
    ) -> None:
        """Let `fn` do tasks of a type; what `@processor` does.

        Raises ProcessorConflict when the type has a processor, InvalidProcessor with the reason.
        """
        registry.register(
            type,
            fn,
            concurrency=concurrency,
            timeout=timeout,
            limiter=limiter,
            isolation=isolation,
            retry_on=retry_on,
            output=output,
            replace=replace,
        )

    def on(
        self,
        name: EventName | str,
        fn: Callable[[dict[str, Any]], object],
        *,
        since: str | None = None,
    ) -> None:
        """Call `fn` with each event of this name, from now on or after the cursor `since`.

        In a thread of this process, whichever process the event happened in. Raises ValueError
        for a name that is no event.
        """
        listeners.on(name, fn, since=since)

    def close(self) -> None:
        """Stop this process's listeners."""
        listeners.close()

    def cancel(self, id: Id, organization_id: str | None = None) -> State:
        """Cancel a task; its state now: cancelled, or as it was while a worker has a say yet.

        A waiting task is refunded when it never started; what hangs on it is cancelled too.
        Without Redis the state is unchanged and workers finish the cancel. Raises NotFound,
        InvalidState when it has ended.
        """
        with database_needed():
            return cancellation.cancel(id, organization_id)

    def cancel_workflow(self, id: Id, organization_id: str | None = None) -> Workflow:
        """Cancel all steps that have not ended. Raises NotFound, InvalidState when all have."""
        with database_needed():
            return cancellation.cancel_workflow(id, organization_id)

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
        terms = RetryCharge(charge=charge, reason=reason, limit_requests=limit_requests)
        with RefusalsCounted():
            return retries.retry(id, terms, organization_id)

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
        terms = RetryCharge(charge=charge, reason=reason, limit_requests=limit_requests)
        with RefusalsCounted():
            return retries.retry_workflow(id, terms, organization_id)

    def set_priority(self, id: Id, priority: int, organization_id: str | None = None) -> Task:
        """Staff's override for one task. Raises NotFound, ValidationRefused, InvalidState."""
        with database_needed():
            return queues.set_priority(id, priority, organization_id)

    def pause(self, type: TaskType | str | None = None, organization_id: str | None = None) -> None:
        """Start nothing more of a queue or an organization; running tasks go on, ttls stand still.

        Raises ValidationRefused unless exactly one is named, OrganizationUnknown.
        """
        with database_needed():
            queues.pause(type, organization_id)

    def resume(
        self, type: TaskType | str | None = None, organization_id: str | None = None
    ) -> None:
        """Let a queue or an organization go on; raises as `pause`."""
        with database_needed():
            queues.resume(type, organization_id)

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

    def change_tier(self, id: str, tier: str | None, *, move_waiting: bool = False) -> int:
        """Move an organization to another tier (None: none); new tasks have its priority.

        With `move_waiting` those of its waiting tasks get it too that had the priority of the tier
        before, or are above what the new tier gives: at most 10,000, how many is returned. They go
        to the end of the line of their new priority. Raises OrganizationUnknown,
        ValidationRefused.
        """
        with database_needed():
            return tier_changes.change_tier(id, tier, move_waiting=move_waiting)

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

    def grant(
        self,
        organization_id: str,
        type: TaskType | str,
        amount: int,
        *,
        starts: datetime | None = None,
        until: datetime | None = None,
        reason: str,
        author: str | None = None,
    ) -> Override:
        """Add `amount` tasks to an organization's monthly quota of a type.

        From `starts` (now) to `until`; without it every month has them until the grant is ended.
        Grants in force are added up. Raises OrganizationUnknown, ValidationRefused.
        """
        with database_needed():
            given = overrides.terms(starts, until, reason, author)
            return overrides.grant(organization_id, type, amount, given)

    def override_quota(
        self,
        organization_id: str,
        type: TaskType | str,
        quota: int,
        *,
        starts: datetime | None = None,
        until: datetime | None = None,
        reason: str,
        author: str | None = None,
    ) -> Override:
        """Put another quota in the place of the tier's (-1: no limit); grants are added to it.

        Of several in force the newest counts. Raises as `grant`.
        """
        with database_needed():
            given = overrides.terms(starts, until, reason, author)
            return overrides.override_quota(organization_id, type, quota, given)

    def override_queue(
        self,
        type: TaskType | str,
        *,
        limiter: Mapping[str, float] | None = None,
        concurrency: int | None = None,
        global_concurrency: int | None = None,
        organization_concurrency: int | None = None,
        starts: datetime | None = None,
        until: datetime | None = None,
        reason: str,
        author: str | None = None,
    ) -> list[Override]:
        """Put other limits in the place of a queue's; one override for each that is given.

        `limiter` is {"max": starts, "duration": seconds}. In force within a second of `starts`
        (now), and no longer within a second of `until`; of several for one limit the newest
        counts. The settings of the queue stay as they are. Raises ValidationRefused.
        """
        limits = {
            "limiter": limiter,
            "concurrency": concurrency,
            "global_concurrency": global_concurrency,
            "organization_concurrency": organization_concurrency,
        }
        with database_needed():
            given = overrides.terms(starts, until, reason, author)
            return overrides.override_queue(type, limits, given)

    def end_override(self, id: int) -> Override:
        """End an override or grant now. Raises NotFound, InvalidState when it has ended."""
        with database_needed():
            return overrides.end_override(id)

    def get_overrides(
        self,
        type: TaskType | str | None = None,
        organization_id: str | None = None,
        *,
        has_ended: bool = False,
    ) -> list[Override]:
        """Overrides of a queue, or overrides and grants of an organization; at most 200.

        Those in force or to come, with `has_ended` also those that are over; the newest first.
        Raises ValidationRefused unless exactly one is named, OrganizationUnknown.
        """
        with database_needed():
            return overrides.list_overrides(type, organization_id, has_ended=has_ended)

    def sync_organizations(self, rows: Iterable[Mapping[str, Any] | str]) -> SyncResult:
        """Make the organizations that are missing and change those that differ, all or nothing.

        Rows are ids, or mappings with `id` (text, an integer or a UUID) and any of tier, name and
        is_suspended; what a row omits stays as it is, and no organization is removed. Returns how
        many were `created`, `changed` and `unchanged`. Raises ValidationRefused with the row's
        place in `details["index"]`.
        """
        with database_needed():
            return organizations.sync_organizations(rows)

    def create_key(
        self,
        organization_id: str,
        *,
        scopes: Iterable[Scope | str] = DEFAULT_SCOPES,
        name: str = "",
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """Issue an API key: its row, and its text, which is not stored and never seen again.

        Scopes are read, submit and operate. Raises OrganizationUnknown, ValidationRefused.
        """
        with database_needed():
            return credentials.create_key(
                organization_id, scopes=scopes, name=name, expires_at=expires_at
            )

    def revoke_key(self, key: ApiKey | int | str, organization_id: str | None = None) -> ApiKey:
        """End a key, by its row or the row's id; its streams end within five seconds.

        Raises NotFound, with an organization's id for the keys of others too.
        """
        with database_needed():
            return credentials.revoke_key(key, organization_id)

    def revoke_keys(self, organization_id: str, *, name: str | None = None) -> int:
        """End all keys of an organization, or those with a name; how many.

        Raises OrganizationUnknown.
        """
        with database_needed():
            return credentials.revoke_keys_of(organization_id, name)

    def set_member(
        self, organization_id: str, user: Any, role: Role | str = Role.MEMBER
    ) -> Membership:
        """Let a user (or its primary key) act for an organization by its session, in this role.

        Roles are viewer, member and admin. Raises OrganizationUnknown, NotFound (no such user),
        ValidationRefused.
        """
        with database_needed():
            return credentials.set_member(organization_id, user, role)

    def remove_member(self, organization_id: str, user: Any) -> bool:
        """Let a user (or its primary key) act for it no longer; whether it did.

        Raises OrganizationUnknown.
        """
        with database_needed():
            return credentials.remove_member(organization_id, user)

    aadd_task = twin(add_task)
    aadd_tasks = twin(add_tasks)
    aadd_workflow = twin(add_workflow)
    aget_task = twin(get_task)
    aget_workflow = twin(get_workflow)
    aget_organization_tasks = twin(get_organization_tasks)
    aget_queue_stats = twin(get_queue_stats)
    aexplain = twin(explain)
    aclose = twin(close)
    acancel = twin(cancel)
    acancel_workflow = twin(cancel_workflow)
    aretry = twin(retry)
    aretry_workflow = twin(retry_workflow)
    aset_priority = twin(set_priority)
    apause = twin(pause)
    aresume = twin(resume)
    aset_organization = twin(set_organization)
    achange_organization = twin(change_organization)
    achange_tier = twin(change_tier)
    aset_queue = twin(set_queue)
    aset_organizations = twin(set_organizations)
    agrant = twin(grant)
    aoverride_quota = twin(override_quota)
    aoverride_queue = twin(override_queue)
    aend_override = twin(end_override)
    aget_overrides = twin(get_overrides)
    async_organizations = twin(sync_organizations)
    acreate_key = twin(create_key)
    arevoke_key = twin(revoke_key)
    arevoke_keys = twin(revoke_keys)
    aset_member = twin(set_member)
    aremove_member = twin(remove_member)


def _output(task: Task) -> Any:
    """The result of an ended task as its model; raises TaskFailed."""
    result = waits.completed(task)
    try:
        return registry.output_of(task.type).validate_json(json_text.encode(result))
    except ValidationError as error:
        raise TaskFailed(
            _("The result of task %(task)s does not fit the output of %(type)s as it is now.")
            % {"task": task.pk, "type": task.type},
            code=InvalidResult.code,
            task=task,
        ) from error


def _outputs(workflow: Workflow) -> dict[str, Any]:
    return {task.step_name or task.type: _output(task) for task in waits.steps_completed(workflow)}


queue_manager = QueueManager()
