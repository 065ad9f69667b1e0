"""Tasks over HTTP: add, list, look at, explain, cancel, retry."""

import json
from typing import Any, ClassVar
from uuid import UUID

from django.urls import reverse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import CHANGES, SUBMITS, answers, operation, parameters
from plugspace_queue.api.pagination import page, query
from plugspace_queue.api.requests import NewTask, NewTasks, ReasonRequest, TaskQuery
from plugspace_queue.api.responses import TaskPage, TaskResults, TaskState, for_caller, wire
from plugspace_queue.api.submits import idempotency_key, retried, stored, submit, terms
from plugspace_queue.conf import get_settings
from plugspace_queue.db.json_size import fill, light
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Task
from plugspace_queue.models.task import TaskQuerySet
from plugspace_queue.schemas.explanation import Explanation
from plugspace_queue.schemas.task import LARGE, AgentTask, snapshot

MAX_BULK_BODY = 8 * 1024 * 1024


class TaskList(ApiView):
    """The tasks of the caller's organization."""

    @operation(
        "listTasks",
        summary="List tasks, the newest first",
        parameters=parameters(TaskQuery),
        responses=answers(200, TaskPage),
    )
    def get(self, request: Request) -> Response:
        asked = query(request, TaskQuery)
        rows = _filtered(Task.objects.of_organization(self.caller.organization_id), asked)
        return Response(
            page(request, light(rows, LARGE, get_settings().snapshot_limit), asked, self._short)
        )

    @submit("addTask", "Add a task", NewTask, AgentTask)
    def post(self, request: Request) -> Response:
        new = self.body(NewTask)
        asked = new.asked(**self.caller.names(), idempotency_key=idempotency_key(request))
        task, is_replay, window = queue_manager.submit_task(asked)
        place = reverse("plugspace_queue:task", args=[task.pk])
        return stored(wire(task), window, is_replay=is_replay, place=place)

    def _short(self, task: Task) -> dict[str, Any]:
        """A task of a list: large inputs, contexts and results are left out, with a note."""
        told = snapshot(task, unread=fill(task, LARGE, get_settings().snapshot_limit))
        return for_caller(json.loads(told), is_staff=self.caller.is_staff)


class TaskBulk(ApiView):
    """Many tasks in one request."""

    max_body = MAX_BULK_BODY

    @submit("addTasks", "Add tasks, all of them or none", NewTasks, TaskResults)
    def post(self, request: Request) -> Response:
        new = self.body(NewTasks)
        done = queue_manager.submit_tasks(
            [item.asked(**self.caller.names()) for item in new.tasks],
            idempotency_key=idempotency_key(request),
        )
        told = {"results": [wire(entry.subject) for entry in done]}
        is_replay = all(entry.is_replay for entry in done)
        return stored(told, done[0].window, is_replay=is_replay)


class TaskDetail(ApiView):
    """One task."""

    @operation("getTask", summary="Look at a task", responses=answers(200, AgentTask))
    def get(self, request: Request, task_id: UUID) -> Response:
        task = queue_manager.get_task(task_id, self.caller.organization_id)
        return Response(wire(task, is_staff=self.caller.is_staff))


class TaskExplain(ApiView):
    """Why a task is where it is."""

    @operation(
        "explainTask",
        summary="Why a task waits: gates, slots, its place in line",
        responses=answers(200, Explanation),
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        told = queue_manager.explain(task_id, self.caller.organization_id)
        return Response(told.to_wire())


class TaskCancel(ApiView):
    """The end of a task that has not ended."""

    verbs: ClassVar = {"POST": Verb.CANCEL}

    @operation(
        "cancelTask",
        summary="Cancel a task; 202 when it runs and was told to stop",
        request=ReasonRequest,
        responses=answers(200, TaskState, CHANGES) | {202: TaskState},
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        asked = self.body(ReasonRequest, is_optional=True)
        task = queue_manager.get_task(task_id, self.caller.organization_id)
        state = State(queue_manager.cancel(task_id))
        self.note(task, "cancelled or told to stop", asked.reason)
        body = {"id": str(task_id), "state": state, "status": lifecycle.status_of(state)}
        is_done = state in lifecycle.FINAL
        return Response(body, status=status.HTTP_200_OK if is_done else status.HTTP_202_ACCEPTED)


class TaskRetry(ApiView):
    """Another life of a failed, cancelled or expired task."""

    verbs: ClassVar = {"POST": Verb.RETRY}

    @operation(
        "retryTask",
        summary="Retry a failed, cancelled or expired task; one new charge, none for staff",
        request=ReasonRequest,
        responses=answers(200, AgentTask, SUBMITS),
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        asked = self.body(ReasonRequest, is_optional=True)
        queue_manager.get_task(task_id, self.caller.organization_id)
        task = queue_manager.retry(task_id, **terms(self.caller, asked.reason))
        self.note(task, "goes again", asked.reason)
        return retried(wire(task), self.caller, task.organization_id)


def _filtered(rows: TaskQuerySet, asked: TaskQuery) -> TaskQuerySet:
    exact = {
        "type": asked.type,
        "state": asked.state,
        "project_id": asked.project_id,
        "workflow_id": asked.workflow_id,
    }
    rows = rows.filter(**{name: value for name, value in exact.items() if value is not None})
    return rows if asked.status is None else rows.with_status(asked.status)
