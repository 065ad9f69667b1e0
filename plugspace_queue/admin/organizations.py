"""Organizations, their members and their API keys."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import (
    NamedChangeList,
    OperateMixin,
    StyledMixin,
    UncountedMixin,
)
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import ApiKey, Membership, Organization
from plugspace_queue.templatetags.psq import badge
from plugspace_queue.types import Scope

SCOPES = [(scope.value, scope.value) for scope in Scope]


class MembershipInline(admin.TabularInline):
    """The members of an organization."""

    model = Membership
    extra = 0
    raw_id_fields = ("user",)


@admin.register(Organization)
class OrganizationAdmin(UncountedMixin, StyledMixin, OperateMixin, admin.ModelAdmin):
    """Tenants: their tier, and whether they may submit and run. Suspended, never deleted."""

    changelist = NamedChangeList
    list_display = ("id", "name", "tier", "shown_state", "created_at")
    list_filter = ("tier", "is_suspended", "is_paused")
    list_select_related = ("tier",)
    search_fields = ("id", "name")
    search_help_text = "Id or name."
    autocomplete_fields = ("tier",)
    readonly_fields = ("is_paused", "paused_at", "created_at")
    fields = (("id", "name"), "tier", "is_suspended", ("is_paused", "paused_at"), "created_at")
    inlines = (MembershipInline,)
    actions = ("pause_chosen", "resume_chosen")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("id", *self.readonly_fields) if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Its tasks protect it, and the page that says so would read all of them.
        return False

    @admin.action(description="Pause", permissions=["operate"])
    def pause_chosen(self, request: HttpRequest, queryset: QuerySet[Organization]) -> None:
        def pause(row: Organization) -> None:
            queue_manager.pause(organization_id=row.pk)

        steering.each(request, queryset, pause, "paused")

    @admin.action(description="Resume", permissions=["operate"])
    def resume_chosen(self, request: HttpRequest, queryset: QuerySet[Organization]) -> None:
        def resume(row: Organization) -> None:
            queue_manager.resume(organization_id=row.pk)

        steering.each(request, queryset, resume, "resumed")

    @admin.display(description="State")
    def shown_state(self, row: Organization) -> SafeString:
        if row.is_suspended:
            return badge("suspended")
        return badge("paused" if row.is_paused else "open")


@admin.register(Membership)
class MembershipAdmin(UncountedMixin, StyledMixin, admin.ModelAdmin):
    """Which user acts for which organization over the API."""

    list_display = ("organization_id", "user", "role")
    list_filter = ("role",)
    list_select_related = ("user",)
    search_fields = ("=organization__id",)
    autocomplete_fields = ("organization",)
    raw_id_fields = ("user",)


class ApiKeyForm(forms.ModelForm):
    """Scopes as boxes to tick."""

    scopes = forms.MultipleChoiceField(choices=SCOPES, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiKey
        fields = ("organization", "name", "scopes", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(UncountedMixin, StyledMixin, admin.ModelAdmin):
    """Keys of the API: shown once when issued, revoked here, never read again."""

    form = ApiKeyForm
    list_display = ("prefix", "organization_id", "name", "shown_state", "scopes", "last_used_at")
    list_filter = ("revoked_at",)
    search_fields = ("=organization__id", "prefix", "name")
    search_help_text = "Organization, first characters of the key, or name."
    autocomplete_fields = ("organization",)
    actions = ("revoke_chosen",)
    readonly_fields = ("prefix", "created_at", "last_used_at", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        chosen = ("organization", "name", "scopes", "expires_at")
        return (*chosen, *self.readonly_fields) if obj else chosen

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("organization", *self.readonly_fields) if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        names = ("organization", "scopes", "name", "expires_at")
        row, obj.secret = ApiKey.issue(**{name: getattr(obj, name) for name in names})  # type: ignore[attr-defined]
        obj.pk, obj.prefix = row.pk, row.prefix

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only page that ever shows the key; it is kept in no message and no cookie."""
        context = {
            **self.admin_site.each_context(request),
            "title": "A new API key",
            "opts": self.opts,
            "key": obj,
        }
        response = TemplateResponse(request, "admin/plugspace_queue/apikey/issued.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke", permissions=["change"])
    def revoke_chosen(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        done = queryset.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())
        self.message_user(request, f"{done} keys are revoked.")

    @admin.display(description="State")
    def shown_state(self, row: ApiKey) -> SafeString:
        if row.revoked_at is not None:
            return badge("revoked")
        has_expired = row.expires_at is not None and row.expires_at <= timezone.now()
        return badge("expired" if has_expired else "valid")
