"""Workflows with their steps."""

import copy
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import CANCELLED, QUEUED_FOR_RETRY, retry_reason, run_action
from plugspace_queue.admin.base import LivePageAdmin, RecordAdmin, is_list, pretty_column
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.dashboards.graphs import graph_of
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.kinds import kinds
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
class WorkflowAdmin(LivePageAdmin, RecordAdmin):
    """Every workflow, the newest first."""

    list_display = (
        *("id", "kind", "organization_id", "shown_status"),
        *("shown_steps", "project_id", "created_at"),
    )
    list_filter = (("kind", KindFilter),)
    search_fields = ("id",)
    search_help_text = gettext_lazy("Id of a workflow, project or organization.")
    actions = ("retry_chosen", "cancel_chosen")
    live_template = "workflow/live.html"
    fields = (
        ("shown_kind", "shown_status"),
        ("organization", "project_id", "user_id"),
        "created_at",
        "shown_input",
    )
    shown_input = staticmethod(pretty_column("input", gettext_lazy("Input")))

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

    def live_context(self, request: HttpRequest, row: Workflow) -> dict[str, Any]:
        graph = graph_of(row.pk)
        tasks = [node.task for node in graph.nodes]
        status = status_of_steps(tasks)
        return {
            "graph": graph,
            "status": status,
            "is_over": all(task.is_final for task in tasks),
        }

    @admin.action(
        description=gettext_lazy("Retry from the failed step (no charge)"), permissions=["retry"]
    )
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        def retry(row: Workflow) -> None:
            queue_manager.retry_workflow(
                row.pk, charge=False, reason=retry_reason(request), limit_requests=False
            )

        run_action(request, queryset, retry, QUEUED_FOR_RETRY)

    @admin.action(description=gettext_lazy("Cancel the remaining steps"), permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        def cancel(row: Workflow) -> None:
            queue_manager.cancel_workflow(row.pk)

        run_action(request, queryset, cancel, CANCELLED)

    @admin.display(description=gettext_lazy("Status"))
    def shown_status(self, workflow: Workflow) -> SafeString:
        return badge(workflow.status)

    @admin.display(description=gettext_lazy("Kind"))
    def shown_kind(self, workflow: Workflow) -> str:
        return _kind_text(workflow)

    @admin.display(description=gettext_lazy("Steps"))
    def shown_steps(self, workflow: Workflow) -> SafeString:
        steps_now = workflow.tasks.all()
        rows = ((task.state, task.name_in_workflow, task.state) for task in steps_now)
        steps = format_html_join(
            " → ", '<span class="psq-step psq-{}" title="{}: {}">■</span>', rows
        )
        return format_html('<span class="psq-steps">{}</span>', steps)


def _kind_text(workflow: Workflow) -> str:
    """The kind and its version, and whether its declaration has changed since."""
    declared = kinds().get(workflow.kind)
    text = workflow.kind
    if workflow.kind_version:
        values = {"kind": workflow.kind, "version": workflow.kind_version}
        text = _("%(kind)s, version %(version)s") % values
    if declared is None:
        return _("%(kind)s (not declared any more)") % {"kind": text}
    if workflow.kind_version and declared.version != workflow.kind_version:
        return _("%(kind)s (changed since)") % {"kind": text}
    return text
