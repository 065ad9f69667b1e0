"""The list of tasks, and what is done to many of them at once."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import BY_TYPE, is_list
from plugspace_queue.admin.bulk import BulkPage
from plugspace_queue.admin.searching import organization_of, within
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.models import Task, task_queries
from plugspace_queue.templatetags.psq import badge

ERROR = "error:"
LARGE = ("input", "context", "result", "progress")
NAMES = task_queries.links_with_names()


class PriorityFilter(admin.SimpleListFilter):
    """The four priorities, without asking the table which there are."""

    title = "priority"
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(n), str(n)) for n in range(LOWEST_PRIORITY + 1)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        value = self.value()
        if value is None:
            return queryset
        # What is no filter must not find everything: a press may follow.
        if value not in {choice for choice, _ in self.lookup_choices}:
            raise IncorrectLookupParameters
        return queryset.filter(priority=value)


@admin.register(Task)
class TaskAdmin(BulkPage):
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
    list_filter = ("state", BY_TYPE, PriorityFilter)
    search_fields = ("id",)
    search_help_text = (
        "Id of a task or workflow, project, organization; or user:ID org:ID; or error:CODE."
    )
    actions = ("retry_chosen", "cancel_chosen")
    change_form_template = "admin/plugspace_queue/task/page.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_state", "type", "priority"),
                    ("organization", "project_id", "user_id"),
                    ("shown_workflow", "step", "step_name"),
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
        ("Work", {"fields": ("shown_error", "shown_input", "shown_result")}),
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
        if term.startswith(ERROR):
            code = term.removeprefix(ERROR)
            return queryset.filter(state=State.FAILED, error__code=code), False
        if (task_id := parse_id(term)) is not None:
            return queryset.filter(Q(pk=task_id) | Q(workflow_id=task_id)), False
        return queryset.filter(Q(project_id=term) | Q(organization_id=term)), False

    def walked(self, request: HttpRequest) -> QuerySet[Task] | None:
        """A user's tasks are looked for among the organization's, an error among failed ones.

        A priority is looked for among what the other filters find. Complete tasks of one type are
        looked for among all: no index holds complete tasks by type.
        """
        term = request.GET.get("q", "").strip()
        if term.startswith("user:"):
            return task_queries.tasks_of_organization(organization_of(term))
        names = ("state__exact", "type__exact")
        asked = {name: request.GET[name] for name in names if request.GET.get(name)}
        if term.startswith(ERROR):
            return task_queries.tasks_matching(**asked).in_state(State.FAILED)
        if term:
            return None
        if asked.get("state__exact") == State.COMPLETE and "type__exact" in asked:
            return task_queries.tasks_matching()
        return task_queries.tasks_matching(**asked) if request.GET.get("priority") else None

    @admin.action(description="Retry (no charge)", permissions=["retry"])
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        steering.each(request, queryset, lambda task: self._retry(request, task), "go again")

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        said = "cancelled or told to stop"
        steering.each(request, queryset, lambda task: self._cancel(request, task), said)

    @admin.display(description="State", ordering="state")
    def shown_state(self, task: Task) -> SafeString:
        return badge(task.state)

    @admin.display(description="Queued")
    def queued(self, task: Task) -> SafeString:
        is_new = timezone.now() - task.queued_at < timedelta(minutes=1)
        said = "just now" if is_new else f"{timesince(task.queued_at, depth=1)} ago"
        return format_html('<time title="{}">{}</time>', task.queued_at.isoformat(), said)

    @admin.display(description="Duration")
    def took(self, task: Task) -> str:
        return "-" if task.duration is None else f"{task.duration / 1000:.1f} s"
