"""Workflows over HTTP: start, list, show, cancel, retry."""

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Prefetch
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api.base import ApiViewSet
from plugspace_queue.api.openapi import CHANGES, SUBMITS, answers, operation, parameters
from plugspace_queue.api.pagination import paginate, parse_query
from plugspace_queue.api.requests import NewWorkflow, ReasonRequest, WorkflowQuery
from plugspace_queue.api.responses import (
    WorkflowDetail,
    WorkflowPage,
    WorkflowStarted,
    workflow_detail,
    workflow_summary,
)
from plugspace_queue.api.submits import idempotency_key, retried, stored, submit, terms
from plugspace_queue.conf import get_settings
from plugspace_queue.db.json_size import defer_large_json, load_small_json
from plugspace_queue.domain import json_text
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Workflow, task_queries

LARGE = ("input",)
# The columns of a step that a summary needs; none of them is large.
STEPS = Prefetch("tasks", task_queries.step_columns())


class WorkflowViewSet(ApiViewSet):
    """Workflows of the caller's organization."""

    lookup_url_kwarg = "workflow_id"
    lookup_value_converter = "uuid"
    verbs: ClassVar = {"create": Verb.SUBMIT, "cancel": Verb.CANCEL, "retry": Verb.RETRY}

    @operation(
        "listWorkflows",
        summary="List workflows, the newest first",
        parameters=parameters(WorkflowQuery),
        responses=answers(200, WorkflowPage),
    )
    def list(self, request: Request) -> Response:
        """The workflows of your organization."""
        params = parse_query(request, WorkflowQuery)
        exact = {
            "kind": params.kind,
            "project_id": params.project_id,
            "organization_id": self.caller.organization_id,
        }
        rows = task_queries.workflows_matching(**{k: v for k, v in exact.items() if v is not None})
        rows = defer_large_json(rows, LARGE, get_settings().snapshot_limit).prefetch_related(STEPS)
        return Response(paginate(request, rows, params, _summary))

    @submit("addWorkflow", "Start a workflow", NewWorkflow, WorkflowStarted)
    def create(self, request: Request) -> Response:
        """Start a workflow for your organization."""
        new = self.body(NewWorkflow)
        handle = queue_manager.add_workflow(
            **new.arguments(),
            user_id=self.caller.user_id,
            organization_id=self.caller.own_organization(),
            idempotency_key=idempotency_key(request),
        )
        started = WorkflowStarted(workflow_id=handle.workflow_id, task_ids=handle.task_ids)
        place = self.place("workflow", started.workflow_id)
        return stored(started.to_wire(), handle.window, is_replay=handle.is_replay, place=place)

    @operation(
        "getWorkflow",
        summary="Look at a workflow and its steps",
        responses=answers(200, WorkflowDetail),
    )
    def retrieve(self, request: Request, workflow_id: UUID) -> Response:
        """One workflow with its steps."""
        return Response(self._detail(self._workflow(workflow_id)))

    @operation(
        "cancelWorkflow",
        summary="Cancel what is left of a workflow; 202 while a step still runs",
        request=ReasonRequest,
        responses=answers(200, WorkflowDetail, CHANGES) | {202: WorkflowDetail},
    )
    @action(detail=True, methods=["post"], url_name="workflow-cancel")
    def cancel(self, request: Request, workflow_id: UUID) -> Response:
        """Cancel all steps that have not ended."""
        reason = self.read_reason()
        self._workflow(workflow_id)
        queue_manager.cancel_workflow(workflow_id)
        workflow = self._workflow(workflow_id)
        self.audit(workflow, "cancelled or told to stop", reason)
        is_final = all(task.is_final for task in workflow.tasks.all())
        code = status.HTTP_200_OK if is_final else status.HTTP_202_ACCEPTED
        return Response(self._detail(workflow), status=code)

    @operation(
        "retryWorkflow",
        summary="Retry a workflow from its failed step; charged anew, not for staff",
        request=ReasonRequest,
        responses=answers(200, WorkflowDetail, SUBMITS),
    )
    @action(detail=True, methods=["post"], url_name="workflow-retry")
    def retry(self, request: Request, workflow_id: UUID) -> Response:
        """Retry from the failed step on."""
        reason = self.read_reason()
        workflow = self._workflow(workflow_id)
        queue_manager.retry_workflow(workflow_id, **terms(self.caller, reason))
        self.audit(workflow, "queued for retry", reason)
        body = self._detail(self._workflow(workflow_id))
        return retried(body, self.caller, workflow.organization_id)

    def _workflow(self, workflow_id: UUID) -> Workflow:
        return queue_manager.get_workflow(workflow_id, self.caller.organization_id)

    def _detail(self, workflow: Workflow) -> dict[str, Any]:
        steps = sorted(workflow.tasks.all(), key=lambda task: task.step or 0)
        return workflow_detail(workflow, steps, is_staff=self.caller.is_staff)


def _summary(workflow: Workflow) -> dict[str, Any]:
    """A workflow of a list; a large input is omitted and marked so."""
    limit = get_settings().snapshot_limit
    is_large = (
        bool(load_small_json(workflow, LARGE, limit)) or json_text.size(workflow.input) > limit
    )
    return workflow_summary(workflow, omits_input=is_large)
