"""Workflows with their steps."""

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import ReadOnlyAdmin, ReadOnlyInline, is_list, pretty
from plugspace_queue.admin.searching import within
from plugspace_queue.ids import parse_id
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import IdempotencyKey, Task, Workflow
from plugspace_queue.templatetags.psq import badge

STEPS = Prefetch(
    "tasks", Task.objects.only("id", "type", "state", "step", "workflow_id").order_by("step")
)


class StepInline(ReadOnlyInline):
    """The steps of a workflow."""

    model = Task
    verbose_name_plural = "steps"
    fields = ("step", "type", "shown_state", "retry_count", "queued_at", "completed_at")
    readonly_fields = ("shown_state",)
    ordering = ("step", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        rows: QuerySet[Task] = super().get_queryset(request)
        return rows.defer("input", "context", "result", "progress")

    @admin.display(description="State")
    def shown_state(self, task: Task) -> SafeString:
        return badge(task.state)


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
    list_filter = ("kind",)
    search_fields = ("id",)
    search_help_text = "Id of a workflow, project or organization."
    actions = ("retry_chosen", "cancel_chosen")
    inlines = (StepInline,)
    fields = (
        ("kind", "shown_status"),
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

    @admin.action(description="Retry from the failed step (no charge)", permissions=["operate"])
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        def retry(row: Workflow) -> None:
            queue_manager.retry_workflow(
                row.pk, charge=False, reason=steering.reason(request), limit_requests=False
            )

        steering.each(request, queryset, retry, "go again")

    @admin.action(description="Cancel what is left", permissions=["operate"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        said = "cancelled or told to stop"
        steering.each(request, queryset, lambda row: queue_manager.cancel_workflow(row.pk), said)

    @admin.display(description="Status")
    def shown_status(self, workflow: Workflow) -> SafeString:
        return badge(workflow.status)

    @admin.display(description="Steps")
    def shown_steps(self, workflow: Workflow) -> SafeString:
        rows = ((task.state, task.type, task.state) for task in workflow.tasks.all())
        steps = format_html_join(
            " → ", '<span class="psq-step psq-{}" title="{}: {}">■</span>', rows
        )
        return format_html('<span class="psq-steps">{}</span>', steps)

    @admin.display(description="Input")
    def shown_input(self, workflow: Workflow) -> SafeString | str:
        return pretty(workflow.input)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Which key belongs to which task or workflow."""

    list_display = ("id", "key", "organization_id", "task_id", "workflow_id")
    search_fields = ("=key",)
    search_help_text = "KEY org:ID, the whole key."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """In one organization, as the keys are unique."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return within(request, queryset, "key", term, "KEY org:ID"), False
