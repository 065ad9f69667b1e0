"""Idempotency keys."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from plugspace_queue.admin.base import ReadOnlyAdmin
from plugspace_queue.admin.searching import within
from plugspace_queue.models import IdempotencyKey


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
