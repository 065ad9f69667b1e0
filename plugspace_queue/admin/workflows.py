"""Workflows with their steps."""

import copy
import uuid
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import ReadOnlyAdmin, is_list, pretty
from plugspace_queue.admin.pages import fragment
from plugspace_queue.dashboards.graphs import graph_of
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.kinds import kinds
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Workflow, task_queries
from plugspace_queue.models.workflow import status_of_steps
from plugspace_queue.templatetags.psq import badge

STEPS = Prefetch("tasks", task_queries.step_columns("type", "step_name").order_by("step"))


class KindFilter(admin.ChoicesFieldListFilter):
    """The declared kinds, without asking the table which there are."""

    def __init__(self, field: Any, *args: Any, **kwargs: Any) -> None:
        declared = copy.copy(field)
        declared.choices = [(name, name) for name in kinds()]
        super().__init__(declared, *args, **kwargs)


@admin.register(Workflow)
class WorkflowAdmin(ReadOnlyAdmin):
    """Every workflow, the newest first."""

    list_display = (
        "id",
        "kind",
        "organization_id",
        "shown_status",
        "shown_steps",
        "project_id",
        "created_at",
    )
    list_filter = (("kind", KindFilter),)
    search_fields = ("id",)
    search_help_text = "Id of a workflow, project or organization."
    actions = ("retry_chosen", "cancel_chosen")
    change_form_template = "admin/plugspace_queue/workflow/page.html"
    fields = (
        ("shown_kind", "shown_status"),
        ("organization", "project_id", "user_id"),
        "created_at",
        "shown_input",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workflow]:
        rows: QuerySet[Workflow] = super().get_queryset(request)
        rows = rows.select_related("organization").prefetch_related(STEPS)
        return rows.defer("input") if is_list(request) else rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Workflow], search_term: str
    ) -> tuple[QuerySet[Workflow], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if (workflow_id := parse_id(term)) is not None:
            return queryset.filter(pk=workflow_id), False
        return queryset.filter(Q(project_id=term) | Q(organization_id=term)), False

    def get_urls(self) -> list[URLPattern]:
        live = path(
            "<path:object_id>/live/",
            self.admin_site.admin_view(self.live_view),
            name="plugspace_queue_workflow_live",
        )
        return [live, *super().get_urls()]

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What changes on the page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        workflow_id = parse_id(object_id)
        if workflow_id is None or not task_queries.workflows_by_id([workflow_id]).exists():
            raise Http404("There is no such workflow.")
        return fragment(request, "workflow/live.html", _living(workflow_id))

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            context |= _living(obj.pk)
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.action(description="Retry from the failed step (no charge)", permissions=["retry"])
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        def retry(row: Workflow) -> None:
            queue_manager.retry_workflow(
                row.pk, charge=False, reason=steering.giver(request), limit_requests=False
            )

        steering.each(request, queryset, retry, "go again")

    @admin.action(description="Cancel what is left", permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        said = "cancelled or told to stop"
        steering.each(request, queryset, lambda row: queue_manager.cancel_workflow(row.pk), said)

    @admin.display(description="Status")
    def shown_status(self, workflow: Workflow) -> SafeString:
        return badge(workflow.status)

    @admin.display(description="Kind")
    def shown_kind(self, workflow: Workflow) -> str:
        return _told_kind(workflow)

    @admin.display(description="Steps")
    def shown_steps(self, workflow: Workflow) -> SafeString:
        steps_now = workflow.tasks.all()
        rows = ((task.state, task.name_in_workflow, task.state) for task in steps_now)
        steps = format_html_join(
            " → ", '<span class="psq-step psq-{}" title="{}: {}">■</span>', rows
        )
        return format_html('<span class="psq-steps">{}</span>', steps)

    @admin.display(description="Input")
    def shown_input(self, workflow: Workflow) -> SafeString | str:
        return pretty(workflow.input)


def _told_kind(workflow: Workflow) -> str:
    """The kind, with what became of it since."""
    declared = kinds().get(workflow.kind)
    version = f"{workflow.kind}, version {workflow.kind_version}"
    if declared is None:
        return f"{version if workflow.kind_version else workflow.kind} (not declared any more)"
    if not workflow.kind_version:
        return workflow.kind
    return version if declared.version == workflow.kind_version else f"{version} (changed since)"


def _living(workflow_id: uuid.UUID) -> dict[str, Any]:
    graph = graph_of(workflow_id)
    status = status_of_steps(node.task for node in graph.nodes)
    is_over = all(node.task.is_final for node in graph.nodes)
    return {"graph": graph, "status": status, "is_over": is_over}
