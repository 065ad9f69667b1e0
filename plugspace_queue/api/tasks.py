"""Tasks over HTTP: add, list, show, explain, cancel, retry; downloads of what EXPORT tasks made."""

import json
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue import exports
from plugspace_queue.api.base import ApiView, ApiViewSet
from plugspace_queue.api.openapi import CHANGES, READS, SUBMITS, answers, operation, parameters
from plugspace_queue.api.pagination import paginate, parse_query
from plugspace_queue.api.requests import NewTask, NewTasks, ReasonRequest, TaskQuery, WaitQuery
from plugspace_queue.api.responses import (
    TaskPage,
    TaskResults,
    TaskState,
    task_for_caller,
    task_to_wire,
)
from plugspace_queue.api.spectacular import OpenApiTypes
from plugspace_queue.api.submits import idempotency_key, retried, stored, submit, terms
from plugspace_queue.api.waits import wait_for_end
from plugspace_queue.conf import get_settings
from plugspace_queue.db.json_size import defer_large_json, load_small_json
from plugspace_queue.domain import catalog, lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import NotFound
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Task, task_queries
from plugspace_queue.models.querysets import TaskQuerySet
from plugspace_queue.schemas.explanation import Explanation
from plugspace_queue.schemas.task import LARGE, AgentTask, snapshot

MAX_BULK_BODY = 8 * 1024 * 1024

META_SUFFIX = ":meta"
"""The id `x:meta` would address the Redis key that describes the export x."""


class TaskViewSet(ApiViewSet):
    """Tasks of the caller's organization."""

    lookup_url_kwarg = "task_id"
    lookup_value_converter = "uuid"
    verbs: ClassVar = {
        "create": Verb.SUBMIT,
        "bulk": Verb.SUBMIT,
        "cancel": Verb.CANCEL,
        "retry": Verb.RETRY,
    }

    @operation(
        "listTasks",
        summary="List tasks, the newest first",
        parameters=parameters(TaskQuery),
        responses=answers(200, TaskPage),
    )
    def list(self, request: Request) -> Response:
        """The tasks of your organization."""
        params = parse_query(request, TaskQuery)
        rows = task_queries.tasks_of_organization(self.caller.organization_id).public()
        rows = _filtered(rows, params)
        small = defer_large_json(rows, LARGE, get_settings().snapshot_limit)
        return Response(paginate(request, small, params, self._summary))

    @submit("addTask", "Add a task", NewTask, AgentTask)
    def create(self, request: Request) -> Response:
        """Add one task for your organization."""
        new = self.body(NewTask)
        asked = new.asked(**self.caller.names(), idempotency_key=idempotency_key(request))
        task, is_replay, window = queue_manager.submit_task(asked)
        place = self.place("task", task.pk)
        return stored(task_to_wire(task), window, is_replay=is_replay, place=place)

    @submit("addTasks", "Add tasks, all of them or none", NewTasks, TaskResults)
    @action(detail=False, methods=["post"], url_name="tasks-bulk", max_body=MAX_BULK_BODY)
    def bulk(self, request: Request) -> Response:
        """Add many tasks in one request."""
        new = self.body(NewTasks)
        results = queue_manager.submit_tasks(
            [item.asked(**self.caller.names()) for item in new.tasks],
            idempotency_key=idempotency_key(request),
        )
        body = {"results": [task_to_wire(result.subject) for result in results]}
        is_replay = all(result.is_replay for result in results)
        return stored(body, results[0].window, is_replay=is_replay)

    @operation(
        "getTask",
        summary="Look at a task, or wait until it has ended",
        parameters=parameters(WaitQuery),
        responses=answers(200, AgentTask, (*READS, 429)),
    )
    def retrieve(self, request: Request, task_id: UUID) -> Response:
        """One task."""
        seconds = parse_query(request, WaitQuery).wait

        def answer(task: Task | None = None) -> Response:
            found = task or self._task(task_id)
            return Response(task_to_wire(found, is_staff=self.caller.is_staff))

        task = self._task(task_id)
        if not seconds or task.is_final or request.method != "GET":
            return answer(task)
        return wait_for_end(self, task_id, seconds, answer)

    @operation(
        "explainTask",
        summary="Why a task waits: gates, slots, its place in line",
        responses=answers(200, Explanation),
    )
    @action(detail=True, url_name="task-explain")
    def explain(self, request: Request, task_id: UUID) -> Response:
        """Why a task is in its state."""
        explanation = queue_manager.explain(task_id, self.caller.organization_id)
        if catalog.is_internal(explanation.type):
            raise NotFound
        return Response(explanation.to_wire())

    @operation(
        "cancelTask",
        summary="Cancel a task; 202 when it runs and was told to stop",
        request=ReasonRequest,
        responses=answers(200, TaskState, CHANGES) | {202: TaskState},
    )
    @action(detail=True, methods=["post"], url_name="task-cancel")
    def cancel(self, request: Request, task_id: UUID) -> Response:
        """Cancel a task that has not ended."""
        reason = self.read_reason()
        task = self._task(task_id)
        state = State(queue_manager.cancel(task_id))
        self.audit(task, "cancelled or told to stop", reason)
        body = {"id": str(task_id), "state": state, "status": lifecycle.status_of(state)}
        is_final = state in lifecycle.FINAL
        return Response(body, status=status.HTTP_200_OK if is_final else status.HTTP_202_ACCEPTED)

    @operation(
        "retryTask",
        summary="Retry a failed, cancelled or expired task; one new charge, none for staff",
        request=ReasonRequest,
        responses=answers(200, AgentTask, SUBMITS),
    )
    @action(detail=True, methods=["post"], url_name="task-retry")
    def retry(self, request: Request, task_id: UUID) -> Response:
        """Queue a failed, cancelled or expired task again."""
        reason = self.read_reason()
        self._task(task_id)
        task = queue_manager.retry(task_id, **terms(self.caller, reason))
        self.audit(task, "queued for retry", reason)
        return retried(task_to_wire(task), self.caller, task.organization_id)

    def _task(self, task_id: UUID) -> Task:
        """The caller's task; internal ones are not even for staff here. Raises NotFound."""
        task = queue_manager.get_task(task_id, self.caller.organization_id)
        if catalog.is_internal(task.type):
            raise NotFound
        return task

    def _summary(self, task: Task) -> dict[str, Any]:
        """A task of a list; large inputs, contexts and results are omitted and marked so."""
        text = snapshot(task, unread=load_small_json(task, LARGE, get_settings().snapshot_limit))
        return task_for_caller(json.loads(text), is_staff=self.caller.is_staff)


class ExportView(ApiView):
    """The bytes of an export, as long as they are kept."""

    @operation(
        "getExport",
        summary="Download an export",
        responses=answers((200, "application/octet-stream"), OpenApiTypes.BINARY),
    )
    def get(self, request: Request, export_id: str) -> HttpResponse:
        is_id = not export_id.endswith(META_SUFFIX)
        export = exports.get(export_id, self.caller.organization_id) if is_id else None
        if export is None:
            raise NotFound
        response = HttpResponse(export.data, content_type="application/octet-stream")
        response["Content-Disposition"] = str(content_disposition_header(True, export.filename))
        response["X-Content-Type-Options"] = "nosniff"
        return response


def _filtered(rows: TaskQuerySet, params: TaskQuery) -> TaskQuerySet:
    exact = {
        "type": params.type,
        "state": params.state,
        "project_id": params.project_id,
        "workflow_id": params.workflow_id,
    }
    rows = rows.filter(**{name: value for name, value in exact.items() if value is not None})
    return rows if params.status is None else rows.with_status(params.status)
