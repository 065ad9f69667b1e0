"""Workflows over HTTP: start, list, look at, cancel, retry."""

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Prefetch
from django.urls import reverse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import CHANGES, SUBMITS, answers, operation, parameters
from plugspace_queue.api.pagination import page, query
from plugspace_queue.api.requests import NewWorkflow, ReasonRequest, WorkflowQuery
from plugspace_queue.api.responses import (
    WorkflowDetail,
    WorkflowPage,
    WorkflowStarted,
    detail,
    summary,
)
from plugspace_queue.api.submits import idempotency_key, retried, stored, submit, terms
from plugspace_queue.conf import get_settings
from plugspace_queue.db.json_size import fill, light
from plugspace_queue.domain import json_text
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Task, Workflow

LARGE = ("input",)
# What a summary needs of each step, and nothing large.
STEPS = Prefetch("tasks", Task.objects.only("id", "state", "step", "workflow_id"))


class WorkflowList(ApiView):
    """The workflows of the caller's organization."""

    @operation(
        "listWorkflows",
        summary="List workflows, the newest first",
        parameters=parameters(WorkflowQuery),
        responses=answers(200, WorkflowPage),
    )
    def get(self, request: Request) -> Response:
        asked = query(request, WorkflowQuery)
        exact = {"kind": asked.kind, "project_id": asked.project_id}
        if (organization_id := self.caller.organization_id) is not None:
            exact["organization_id"] = organization_id
        rows = Workflow.objects.filter(**{k: v for k, v in exact.items() if v is not None})
        rows = light(rows, LARGE, get_settings().snapshot_limit).prefetch_related(STEPS)
        return Response(page(request, rows, asked, self._short))

    @submit("addWorkflow", "Start a workflow", NewWorkflow, WorkflowStarted)
    def post(self, request: Request) -> Response:
        new = self.body(NewWorkflow)
        handle = queue_manager.add_workflow(
            **new.arguments(),
            user_id=self.caller.user_id,
            organization_id=self.caller.own_organization(),
            idempotency_key=idempotency_key(request),
        )
        started = WorkflowStarted(workflow_id=handle.workflow_id, task_ids=handle.task_ids)
        place = reverse("plugspace_queue:workflow", args=[started.workflow_id])
        return stored(started.to_wire(), handle.window, is_replay=handle.is_replay, place=place)

    def _short(self, workflow: Workflow) -> dict[str, Any]:
        """A workflow of a list: a large input is left out, with a note."""
        limit = get_settings().snapshot_limit
        is_left = bool(fill(workflow, LARGE, limit)) or json_text.size(workflow.input) > limit
        return summary(workflow, is_input_left=is_left)


class _OneWorkflow(ApiView):
    """Base of what is done with one workflow of the caller's organization."""

    def _workflow(self, workflow_id: UUID) -> Workflow:
        return queue_manager.get_workflow(workflow_id, self.caller.organization_id)

    def _shown(self, workflow: Workflow) -> dict[str, object]:
        steps = sorted(workflow.tasks.all(), key=lambda task: task.step or 0)
        return detail(workflow, steps, is_staff=self.caller.is_staff)


class WorkflowItem(_OneWorkflow):
    """One workflow with its steps."""

    @operation(
        "getWorkflow",
        summary="Look at a workflow and its steps",
        responses=answers(200, WorkflowDetail),
    )
    def get(self, request: Request, workflow_id: UUID) -> Response:
        return Response(self._shown(self._workflow(workflow_id)))


class WorkflowCancel(_OneWorkflow):
    """The end of all steps that have not ended."""

    verbs: ClassVar = {"POST": Verb.CANCEL}

    @operation(
        "cancelWorkflow",
        summary="Cancel what is left of a workflow; 202 while a step still runs",
        request=ReasonRequest,
        responses=answers(200, WorkflowDetail, CHANGES) | {202: WorkflowDetail},
    )
    def post(self, request: Request, workflow_id: UUID) -> Response:
        asked = self.body(ReasonRequest, is_optional=True)
        self._workflow(workflow_id)
        queue_manager.cancel_workflow(workflow_id)
        workflow = self._workflow(workflow_id)
        self.note(workflow, "cancelled or told to stop", asked.reason)
        is_done = all(task.is_final for task in workflow.tasks.all())
        code = status.HTTP_200_OK if is_done else status.HTTP_202_ACCEPTED
        return Response(self._shown(workflow), status=code)


class WorkflowRetry(_OneWorkflow):
    """Another try from the failed step on."""

    verbs: ClassVar = {"POST": Verb.RETRY}

    @operation(
        "retryWorkflow",
        summary="Retry a workflow from its failed step; charged anew, not for staff",
        request=ReasonRequest,
        responses=answers(200, WorkflowDetail, SUBMITS),
    )
    def post(self, request: Request, workflow_id: UUID) -> Response:
        asked = self.body(ReasonRequest, is_optional=True)
        workflow = self._workflow(workflow_id)
        queue_manager.retry_workflow(workflow_id, **terms(self.caller, asked.reason))
        self.note(workflow, "goes again", asked.reason)
        told = self._shown(self._workflow(workflow_id))
        return retried(told, self.caller, workflow.organization_id)
