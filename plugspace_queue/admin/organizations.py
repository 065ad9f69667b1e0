"""Organizations and their members."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import PauseActions
from plugspace_queue.admin.base import TEMPLATES, PageAdmin, PermittedMixin, allowed_verbs
from plugspace_queue.admin.changelists import NamedChangeList
from plugspace_queue.admin.grants import GrantsAdmin
from plugspace_queue.admin.quota_shares import QuotaSharesAdmin
from plugspace_queue.admin.tier_changes import TierChangeAdmin
from plugspace_queue.dashboards.organizations import status_of
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.models import Membership, Organization
from plugspace_queue.templatetags.psq import badge


class MembershipInline(PermittedMixin, admin.TabularInline):
    """The members of an organization."""

    edits = Verb.SET_MEMBERS

    model = Membership
    extra = 0
    raw_id_fields = ("user",)


@admin.register(Organization)
class OrganizationAdmin(TierChangeAdmin, GrantsAdmin, QuotaSharesAdmin, PauseActions):
    """Tenants: their tier, and whether they may submit and run. Suspended, never deleted."""

    edits = Verb.SET_ORGANIZATION

    changelist = NamedChangeList
    list_display = ("id", "name", "tier", "shown_state", "created_at")
    list_filter = ("tier", "is_suspended", "is_paused")
    list_select_related = ("tier",)
    search_fields = ("id", "name")
    search_help_text = gettext_lazy("Id or name.")
    autocomplete_fields = ("tier",)
    readonly_fields = ("shown_state", "paused_at", "created_at")
    fields = (("id", "name"), "tier", "is_suspended", ("shown_state", "paused_at"), "created_at")
    inlines = (MembershipInline,)
    change_form_template = f"{TEMPLATES}/organization/page.html"
    change_list_template = f"{TEMPLATES}/organization/list.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # The tier is changed by a form of its own, which wants a reason and shows the effect.
        return ("id", "tier", *self.readonly_fields) if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Its tasks protect it, and the page that says so would read all of them.
        return False

    def page_context(self, request: HttpRequest, row: Organization) -> dict[str, Any]:
        context = super().page_context(request, row)
        return {**context, "status": status_of(row), "may": allowed_verbs(request)}

    def pause_target(self, row: Organization) -> dict[str, str]:
        return {"organization_id": row.pk}

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, row: Organization) -> SafeString:
        if row.is_suspended:
            return badge("suspended")
        return badge("paused" if row.is_paused else "open")


@admin.register(Membership)
class MembershipAdmin(PageAdmin):
    """Which user acts for which organization over the API."""

    edits = Verb.SET_MEMBERS

    list_display = ("organization_id", "user", "role")
    list_filter = ("role",)
    list_select_related = ("user",)
    search_fields = ("=organization__id",)
    autocomplete_fields = ("organization",)
    raw_id_fields = ("user",)
