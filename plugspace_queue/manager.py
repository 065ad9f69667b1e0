"""The front door: one method for one verb. `queue_manager` serves everybody.

Holds no state; every method only delegates, and tells in its docstring what it raises.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from plugspace_queue.domain.enums import EventName, Kind, Status, TaskType
from plugspace_queue.door import bulk_submitting, explaining, reading, starting, stats, submitting
from plugspace_queue.door.asynchronous import twin
from plugspace_queue.door.availability import database_needed
from plugspace_queue.door.refusals import counted
from plugspace_queue.door.replays import Submitted
from plugspace_queue.door.starting import WorkflowHandle
from plugspace_queue.door.stats import QueueStats
from plugspace_queue.door.steering import Id, Steering
from plugspace_queue.events import listeners
from plugspace_queue.models import Task, Workflow
from plugspace_queue.processing import registry
from plugspace_queue.schemas.explanation import Explanation


class QueueManager(Steering):
    """Submit, look up, steer. Every method may raise Unavailable when the database is away."""

    def add_task(
        self,
        type: TaskType | str,
        *,
        project_id: str,
        user_id: str,
        organization_id: str,
        input: Mapping[str, Any],
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
        self, arguments: Mapping[str, Any], *, limit_requests: bool = True
    ) -> Submitted[Task]:
        """add_task for who must know whether an idempotency key made it a replay."""
        with counted(), database_needed():
            return submitting.add_task(arguments, limit_requests=limit_requests)

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
        items: Iterable[Mapping[str, Any]],
        *,
        limit_requests: bool = True,
        idempotency_key: str | None = None,
    ) -> list[Submitted[Task]]:
        """add_tasks for who must know which items are replays, or has one key for all of them.

        With that key no item has one of its own, and another list of items is a conflict.
        """
        with counted(), database_needed():
            return bulk_submitting.add_tasks(
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
        with counted(), database_needed():
            return starting.add_workflow(
                project_id=project_id,
                user_id=user_id,
                organization_id=organization_id,
                input=input,
                priority=priority,
                kind=kind,
                context=context,
                ttl=ttl,
                idempotency_key=idempotency_key,
                limit_requests=limit_requests,
            )

    def get_task(self, id: Id, organization_id: str | None = None) -> Task:
        """The task; NotFound when it is not there or another organization's."""
        with database_needed():
            return reading.task_of(id, organization_id)

    def get_workflow(self, id: Id, organization_id: str | None = None) -> Workflow:
        """The workflow with its steps; NotFound as in get_task."""
        with database_needed():
            return reading.workflow_of(id, organization_id)

    def get_organization_tasks(
        self,
        organization_id: str,
        status: Status | str | None = None,
        type: TaskType | str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> list[Task]:
        """A page of an organization's tasks, the newest first; `limit` to 1000, `offset` to 10,000.

        Raises ValidationRefused.
        """
        with database_needed():
            return reading.tasks_of(
                organization_id, status=status, task_type=type, limit=limit, offset=offset
            )

    def get_queue_stats(
        self, type: TaskType | str | None = None, *, max_age: float = 0.0
    ) -> list[QueueStats]:
        """How each queue stands, or the one of a type. Raises Unavailable without Redis.

        `active` is None for a queue whose data in Redis is damaged.

        Counts what waits, or takes this process's last count when that is at most `max_age`
        seconds old.
        """
        with database_needed():
            return stats.queue_stats(type, max_age=max_age)

    def explain(self, id: Id, organization_id: str | None = None) -> Explanation:
        """Why the task is where it is: gates, slots, place in line, when it is looked at again.

        With an organization's id nothing of others is told but counts. Raises NotFound;
        Unavailable without Redis, unless the task has ended or is blocked.
        """
        with database_needed():
            return explaining.explain(id, organization_id)

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
        for a name that nobody sends.
        """
        listeners.on(name, fn, since=since)

    def close(self) -> None:
        """Stop this process's listeners."""
        listeners.close()

    aadd_task = twin(add_task)
    aadd_tasks = twin(add_tasks)
    aadd_workflow = twin(add_workflow)
    aget_task = twin(get_task)
    aget_workflow = twin(get_workflow)
    aget_organization_tasks = twin(get_organization_tasks)
    aget_queue_stats = twin(get_queue_stats)
    aexplain = twin(explain)
    aclose = twin(close)


queue_manager = QueueManager()
