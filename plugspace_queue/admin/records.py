"""Records: attempts, usage, idempotency keys; and searches that an index answers."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import BY_TYPE, RecordAdmin, is_list, pretty_column
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.models import Attempt, IdempotencyKey, MonthlyUsage, UsageEntry


class ExactSearchAdmin(RecordAdmin):
    """The search finds a whole word in one of `search_fields`, as written."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.find(request, queryset, term) if term else queryset), False

    def find(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that match a term, which is not empty."""
        pairs = [(field, term) for field in self.search_fields]
        return rows.filter(Q(*pairs, _connector=Q.OR))


@admin.register(Attempt)
class AttemptAdmin(ExactSearchAdmin):
    """Ended executions; each is one line of a task's history."""

    list_display = ("id", "task_id", "number", "outcome", "worker_name", "started_at", "ended_at")
    list_filter = ("outcome",)
    search_fields = ("task_id",)
    search_help_text = gettext_lazy("Id of a task.")
    raw_id_fields = ("task",)
    exclude = ("error", "log")
    readonly_fields = ("shown_error", "shown_log")
    shown_error = staticmethod(pretty_column("error", gettext_lazy("Error")))
    shown_log = staticmethod(pretty_column("log", gettext_lazy("Log")))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        rows: QuerySet[Attempt] = super().get_queryset(request)
        return rows.defer("error", "log") if is_list(request) else rows

    def find(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        task_id = parse_id(term)
        return rows.none() if task_id is None else rows.filter(task_id=task_id)


@admin.register(MonthlyUsage)
class MonthlyUsageAdmin(ExactSearchAdmin):
    """Units per organization, type and month."""

    list_display = ("organization_id", "type", "month", "used")
    list_filter = (BY_TYPE,)
    search_fields = ("organization_id", "month")
    search_help_text = gettext_lazy("Organization, or a month as YYYY-MM.")


@admin.register(UsageEntry)
class UsageEntryAdmin(ExactSearchAdmin):
    """The append-only ledger."""

    list_display = (
        *("id", "created_at", "organization_id", "type", "month"),
        *("reason", "units", "tokens", "cost", "task_id"),
    )
    list_filter = ("reason", BY_TYPE)
    search_fields = ("organization_id",)
    search_help_text = gettext_lazy("Organization.")
    raw_id_fields = ("task",)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ExactSearchAdmin):
    """Which key belongs to which task or workflow."""

    list_display = ("id", "key", "organization_id", "task_id", "workflow_id")
    search_fields = ("key",)
    search_help_text = gettext_lazy("KEY org:ID, the whole key.")

    def find(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return find_in_organization(request, rows, "key", term, "KEY org:ID")


def find_in_organization(
    request: HttpRequest, rows: QuerySet[Any], column: str, term: str, form: str
) -> QuerySet[Any]:
    """Rows of one organization for `value org:ID`; without an ID none, and a message says why."""
    value, organization_id = split_term(term)
    if not organization_id:
        message = _("Add the organization: %(form)s. Without it every row would be read.")
        messages.warning(request, message % {"form": form})
        return rows.none()
    return rows.filter(organization_id=organization_id, **{column: value})


def split_term(term: str) -> tuple[str, str]:
    """Value and organization of `value org:ID`; two empty texts for anything else."""
    parts = term.rsplit(maxsplit=1)
    named = parts[-1].removeprefix("org:") if len(parts) == 2 else ""
    return (parts[0], named) if named and named != parts[1] else ("", "")
