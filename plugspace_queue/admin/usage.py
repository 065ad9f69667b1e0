"""Counters and ledger: what was reserved, refunded and used."""

from django.contrib import admin

from plugspace_queue.admin.base import BY_TYPE, ReadOnlyAdmin
from plugspace_queue.admin.searching import ExactSearchMixin
from plugspace_queue.models import MonthlyUsage, UsageEntry


@admin.register(MonthlyUsage)
class MonthlyUsageAdmin(ExactSearchMixin, ReadOnlyAdmin):
    """Units per organization, type and month."""

    list_display = ("organization_id", "type", "month", "used")
    list_filter = (BY_TYPE,)
    search_fields = ("organization_id", "month")
    search_help_text = "Organization, or a month as YYYY-MM."


@admin.register(UsageEntry)
class UsageEntryAdmin(ExactSearchMixin, ReadOnlyAdmin):
    """The append-only ledger."""

    list_display = (
        "id",
        "created_at",
        "organization_id",
        "type",
        "month",
        "reason",
        "units",
        "tokens",
        "cost",
        "task_id",
    )
    list_filter = ("reason", BY_TYPE)
    search_fields = ("organization_id",)
    search_help_text = "Organization."
    raw_id_fields = ("task",)
