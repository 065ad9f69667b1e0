"""Tasks and their attempts."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    is_list,
    link,
    pretty,
)
from plugspace_queue.admin.searching import within
from plugspace_queue.ids import parse_id
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Attempt, Dependency, Task
from plugspace_queue.rules import lifecycle
from plugspace_queue.rules.tiers import LOWEST_PRIORITY
from plugspace_queue.templatetags.psq import badge
from plugspace_queue.types import State

LARGE = ("input", "context", "result", "progress")
RETRYABLE = {State.FAILED, State.CANCELLED, State.EXPIRED}
NAMES = Dependency.objects.select_related("parent", "task").only(
    "task_id", "parent_id", "parent__type", "parent__state", "task__type", "task__state"
)


class AttemptInline(ReadOnlyInline):
    """The ended executions of a task."""

    model = Attempt
    fields = ("number", "outcome", "worker_name", "started_at", "ended_at", "tokens_used", "cost")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        rows: QuerySet[Attempt] = super().get_queryset(request)
        return rows.defer("error", "log")


class PriorityFilter(admin.SimpleListFilter):
    """The four priorities, without asking the table which there are."""

    title = "priority"
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(n), str(n)) for n in range(LOWEST_PRIORITY + 1)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        value = self.value()
        return queryset.filter(priority=value) if value in set("0123") else queryset


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """Every task, the newest first; cancel and retry go through the manager."""

    list_display = (
        "id",
        "type",
        "shown_state",
        "organization_id",
        "queued",
        "took",
        "project_id",
        "priority",
    )
    list_filter = ("state", "type", PriorityFilter)
    search_fields = ("id",)
    search_help_text = "Id of a task or workflow, project, organization; or user:ID org:ID."
    actions = ("retry_chosen", "cancel_chosen")
    inlines = (AttemptInline,)
    change_form_template = "admin/plugspace_queue/steerable.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_state", "type", "priority"),
                    ("organization", "project_id", "user_id"),
                    ("shown_workflow", "step"),
                    ("shown_parents", "shown_children"),
                )
            },
        ),
        (
            "Times",
            {
                "fields": (
                    ("queued_at", "wake_at", "deadline"),
                    ("started_at", "completed_at", "took"),
                    ("cancel_requested_at", "ttl"),
                )
            },
        ),
        ("Work", {"fields": ("shown_error", "shown_progress", "shown_input", "shown_result")}),
        (
            "Counts",
            {
                "fields": (
                    ("attempt_count", "retry_count", "max_retries"),
                    ("recovery_count", "deferral_count", "open_deps"),
                    ("tokens_used", "cost"),
                    ("charged_month", "refunded_at"),
                    ("worker_name", "fence"),
                )
            },
        ),
        ("Context", {"classes": ("collapse",), "fields": ("shown_context",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        rows: QuerySet[Task] = super().get_queryset(request)
        return rows.defer(*LARGE) if is_list(request) else rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        rows = self.get_queryset(request).select_related("organization", "workflow")
        names = (Prefetch("dependencies", NAMES), Prefetch("dependents", NAMES))
        task_id = parse_id(object_id)
        return task_id and rows.prefetch_related(*names).filter(pk=task_id).first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """Exact matches that an index finds: a search must not read ten million rows."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("user:"):
            user = term.removeprefix("user:")
            return within(request, queryset, "user_id", user, "user:ID org:ID"), False
        if (task_id := parse_id(term)) is not None:
            return queryset.filter(Q(pk=task_id) | Q(workflow_id=task_id)), False
        return queryset.filter(Q(project_id=term) | Q(organization_id=term)), False

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(getattr(self, f"{name}_view")),
                name=f"plugspace_queue_task_{name}",
            )
            for name in ("cancel", "retry")
        ]
        return verbs + super().get_urls()

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of one task's page."""
        return self._press(request, object_id, self._cancel, "cancelled or told to stop")

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of one task's page."""
        return self._press(request, object_id, self._retry, "goes again")

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None and self.has_operate_permission(request):
            context["verbs"] = _verbs(State(obj.state))
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.action(description="Retry (no charge)", permissions=["operate"])
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        steering.each(request, queryset, lambda task: self._retry(request, task), "go again")

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        said = "cancelled or told to stop"
        steering.each(request, queryset, lambda task: self._cancel(request, task), said)

    def _press(self, request: HttpRequest, object_id: str, verb: Any, said: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_operate_permission(request):
            raise PermissionDenied
        task = self.get_object(request, object_id)
        if task is None:
            messages.error(request, "This task is not there any more.")
            return redirect("admin:plugspace_queue_task_changelist")
        steering.each(request, [task], lambda row: verb(request, row), said)
        return redirect("admin:plugspace_queue_task_change", task.pk)

    def _cancel(self, request: HttpRequest, task: Task) -> None:
        queue_manager.cancel(task.pk)

    def _retry(self, request: HttpRequest, task: Task) -> None:
        queue_manager.retry(
            task.pk, charge=False, reason=steering.reason(request), limit_requests=False
        )

    @admin.display(description="State", ordering="state")
    def shown_state(self, task: Task) -> SafeString:
        return badge(task.state)

    @admin.display(description="Queued")
    def queued(self, task: Task) -> SafeString:
        since = timesince(task.queued_at, depth=1)
        return format_html('<time title="{}">{} ago</time>', task.queued_at.isoformat(), since)

    @admin.display(description="Duration")
    def took(self, task: Task) -> str:
        return "-" if task.duration is None else f"{task.duration / 1000:.1f} s"

    @admin.display(description="Workflow")
    def shown_workflow(self, task: Task) -> SafeString | str:
        return link("workflow", task.workflow_id) if task.workflow_id else "-"

    @admin.display(description="Waits for")
    def shown_parents(self, task: Task) -> SafeString | str:
        return _tasks([dependency.parent for dependency in task.dependencies.all()])

    @admin.display(description="Is waited for by")
    def shown_children(self, task: Task) -> SafeString | str:
        return _tasks([dependency.task for dependency in task.dependents.all()])

    @admin.display(description="Input")
    def shown_input(self, task: Task) -> SafeString | str:
        return pretty(task.input)

    @admin.display(description="Result")
    def shown_result(self, task: Task) -> SafeString | str:
        return pretty(task.result)

    @admin.display(description="Error")
    def shown_error(self, task: Task) -> SafeString | str:
        return pretty(task.error)

    @admin.display(description="Progress")
    def shown_progress(self, task: Task) -> SafeString | str:
        return pretty(task.progress)

    @admin.display(description="Context")
    def shown_context(self, task: Task) -> SafeString | str:
        return pretty(task.context)


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Ended executions; each is one line of a task's history."""

    list_display = ("id", "task_id", "number", "outcome", "worker_name", "started_at", "ended_at")
    list_filter = ("outcome",)
    search_fields = ("=task__id",)
    search_help_text = "Id of a task."
    raw_id_fields = ("task",)
    exclude = ("error", "log")
    readonly_fields = ("shown_error", "shown_log")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        rows: QuerySet[Attempt] = super().get_queryset(request)
        return rows.defer("error", "log") if is_list(request) else rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Attempt], search_term: str
    ) -> tuple[QuerySet[Attempt], bool]:
        if not search_term:
            return queryset, False
        task_id = parse_id(search_term.strip())
        return queryset.none() if task_id is None else queryset.filter(task_id=task_id), False

    @admin.display(description="Error")
    def shown_error(self, attempt: Attempt) -> SafeString | str:
        return pretty(attempt.error)

    @admin.display(description="Log")
    def shown_log(self, attempt: Attempt) -> SafeString | str:
        return pretty(attempt.log)


def _verbs(state: State) -> list[str]:
    if state in RETRYABLE:
        return ["retry"]
    return [] if state in lifecycle.FINAL else ["cancel"]


def _tasks(tasks: list[Task]) -> SafeString | str:
    rows = ((link("task", task.pk, f"{task.type} {task.pk}"), task.state) for task in tasks)
    return format_html_join(", ", "{} ({})", rows) or "-"
