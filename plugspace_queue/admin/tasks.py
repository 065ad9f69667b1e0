"""Tasks: their list, the page of each, and what is done to one or to many of them."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import (
    BY_TYPE,
    TEMPLATES,
    LivePageAdmin,
    RecordAdmin,
    is_list,
    link,
    pretty_column,
)
from plugspace_queue.admin.filter_actions import LIST, TASK_ACTIONS, FilterActionsAdmin
from plugspace_queue.admin.records import find_in_organization, split_term
from plugspace_queue.dashboards.explanations import explanation_of
from plugspace_queue.dashboards.timelines import progress_of, timeline
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.fingerprint import LONGEST_CODE
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.models import Task, dependency_queries, failure_queries, task_queries
from plugspace_queue.templatetags.psq import badge

USER, ERROR = "user:", "error:"
LARGE = ("input", "context", "result", "progress")
LONGEST_REASON = 200
MOST_CODES = 500
"""Failure groups whose codes the filter offers."""
LINKS = dependency_queries.links_with_names()


class PriorityFilter(admin.SimpleListFilter):
    """The four priorities, without asking the table which there are."""

    title = gettext_lazy("priority")
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(n), str(n)) for n in range(LOWEST_PRIORITY + 1)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        value = self.value()
        if value is None:
            return queryset
        # An unknown value must not find everything: an action for all may follow.
        if value not in {choice for choice, _ in self.lookup_choices}:
            raise IncorrectLookupParameters
        return queryset.filter(priority=value)


class ErrorCodeFilter(admin.SimpleListFilter):
    """The codes with which tasks failed lately."""

    title = gettext_lazy("error code")
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = failure_queries.known_types_and_codes(MOST_CODES)[1]
        wanted = request.GET.get(self.parameter_name)
        return [(code, code) for code in sorted({*known, *filter(None, [wanted])})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        value = self.value()
        if not value:
            return queryset
        if len(value) > LONGEST_CODE or "\0" in value:
            raise IncorrectLookupParameters
        return queryset.filter(error_code=value)


@admin.register(Task)
class TaskAdmin(FilterActionsAdmin, LivePageAdmin, RecordAdmin):
    """Every task, the newest first; cancel and retry go through the manager."""

    list_display = (
        *("id", "type", "shown_state", "organization_id"),
        *("queued", "took", "project_id", "priority"),
    )
    list_filter = ("state", BY_TYPE, PriorityFilter, ErrorCodeFilter)
    search_fields = ("id",)
    search_help_text = gettext_lazy(
        "Id of a task or workflow, project, organization; or user:ID org:ID; or error:CODE."
    )
    actions = ("retry_chosen", "cancel_chosen")
    change_form_template = f"{TEMPLATES}/task/page.html"
    live_template = "task/live.html"
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
            gettext_lazy("Times"),
            {
                "fields": (
                    ("queued_at", "wake_at", "deadline"),
                    ("started_at", "completed_at", "took"),
                    ("cancel_requested_at", "ttl"),
                )
            },
        ),
        (gettext_lazy("Work"), {"fields": ("shown_error", "shown_input", "shown_result")}),
        (
            gettext_lazy("Counts"),
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
        (
            gettext_lazy("Context"),
            {"classes": ("collapse",), "fields": ("shown_context",)},
        ),
    )
    shown_input = staticmethod(pretty_column("input", gettext_lazy("Input")))
    shown_result = staticmethod(pretty_column("result", gettext_lazy("Result")))
    shown_error = staticmethod(pretty_column("error", gettext_lazy("Error")))
    shown_context = staticmethod(pretty_column("context", gettext_lazy("Context")))

    def more_urls(self) -> list[URLPattern]:
        buttons = [
            self.address(f"<path:object_id>/{name}/", partial(self.button_view, verb=name), name)
            for name in TASK_ACTIONS
        ]
        # Last, as "all" would pass for an id.
        return [*super().more_urls(), *buttons]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        rows: QuerySet[Task] = super().get_queryset(request)
        return rows.defer(*LARGE) if is_list(request) else rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        rows = self.get_queryset(request).select_related("organization", "workflow")
        links = (Prefetch("dependencies", LINKS), Prefetch("dependents", LINKS))
        task_id = parse_id(object_id)
        return task_id and rows.prefetch_related(*links).filter(pk=task_id).first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """Exact matches that an index finds: a search must not read ten million rows."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith(USER):
            user = term.removeprefix(USER)
            form = "user:ID org:ID"
            return find_in_organization(request, queryset, "user_id", user, form), False
        if term.startswith(ERROR):
            code = term.removeprefix(ERROR)
            return queryset.filter(state=State.FAILED, error__code=code), False
        if (task_id := parse_id(term)) is not None:
            return queryset.filter(Q(pk=task_id) | Q(workflow_id=task_id)), False
        return queryset.filter(Q(project_id=term) | Q(organization_id=term)), False

    def rows_to_scan(self, request: HttpRequest) -> QuerySet[Task] | None:
        """The organization's tasks for a user, failed ones for an error.

        For a priority and a code those that the other filters find, as only codes of failed tasks
        of one type have an index; for complete tasks of one type all, as no index holds complete
        tasks by type.
        """
        term = request.GET.get("q", "").strip()
        if term.startswith(USER):
            return task_queries.tasks_of_organization(split_term(term)[1])
        names = ("state__exact", "type__exact")
        asked = {name: request.GET[name] for name in names if request.GET.get(name)}
        if term.startswith(ERROR):
            return task_queries.tasks_matching(**asked).in_state(State.FAILED)
        if term:
            return None
        if request.GET.get("error_code"):
            has_index = asked.get("state__exact") == State.FAILED and "type__exact" in asked
            return None if has_index else task_queries.tasks_matching(**asked)
        if asked.get("state__exact") == State.COMPLETE and "type__exact" in asked:
            return task_queries.tasks_matching()
        return task_queries.tasks_matching(**asked) if request.GET.get("priority") else None

    def live_context(self, request: HttpRequest, row: Task) -> dict[str, Any]:
        explanation = explanation_of(row)
        return {
            "task": row,
            "timeline": timeline(row),
            "progress": progress_of(row),
            "why": explanation,
            "outage": explanation.outage if explanation else "",
        }

    def page_context(self, request: HttpRequest, row: Task) -> dict[str, Any]:
        verbs = [
            name
            for name, action in TASK_ACTIONS.items()
            if row.state in action.states and self.may(request, action.needs)
        ]
        return {**super().page_context(request, row), "verbs": verbs}

    def button_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """A button of one task's page."""
        action = TASK_ACTIONS[verb]
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self.require(request, action.needs)
        task = self.get_object(request, object_id)
        if task is None:
            messages.error(request, _("This task does not exist any more."))
            return redirect(LIST)
        action.run(request, [task], request.POST.get("reason", "").strip()[:LONGEST_REASON])
        return redirect("admin:plugspace_queue_task_change", task.pk)

    @admin.action(description=gettext_lazy("Retry (no charge)"), permissions=["retry"])
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        TASK_ACTIONS["retry"].run(request, queryset)

    @admin.action(description=gettext_lazy("Cancel"), permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        TASK_ACTIONS["cancel"].run(request, queryset)

    @admin.display(description=gettext_lazy("State"), ordering="state")
    def shown_state(self, task: Task) -> SafeString:
        return badge(task.state)

    @admin.display(description=gettext_lazy("Queued"))
    def queued(self, task: Task) -> SafeString:
        is_new = timezone.now() - task.queued_at < timedelta(minutes=1)
        age = timesince(task.queued_at, depth=1)
        age = _("just now") if is_new else _("%(age)s ago") % {"age": age}
        return format_html('<time title="{}">{}</time>', task.queued_at.isoformat(), age)

    @admin.display(description=gettext_lazy("Duration"))
    def took(self, task: Task) -> str:
        return "-" if task.duration is None else f"{task.duration / 1000:.1f} s"

    @admin.display(description=gettext_lazy("Workflow"))
    def shown_workflow(self, task: Task) -> SafeString | str:
        return link("workflow", task.workflow_id) if task.workflow_id else "-"

    @admin.display(description=gettext_lazy("Depends on"))
    def shown_parents(self, task: Task) -> SafeString | str:
        return _links([dependency.parent for dependency in task.dependencies.all()])

    @admin.display(description=gettext_lazy("Dependents"))
    def shown_children(self, task: Task) -> SafeString | str:
        return _links([dependency.task for dependency in task.dependents.all()])


def _links(tasks: list[Task]) -> SafeString | str:
    rows = ((link("task", task.pk, f"{task.type} {task.pk}"), task.state) for task in tasks)
    return format_html_join(", ", "{} ({})", rows) or "-"
