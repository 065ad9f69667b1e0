"""Attempts: ended executions of tasks."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from plugspace_queue.admin.base import ReadOnlyAdmin, is_list, pretty
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.models import Attempt


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
