"""API keys of organizations."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.domain.addresses import address
from plugspace_queue.domain.enums import Scope
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.models import ApiKey
from plugspace_queue.services.credentials import revoke_keys
from plugspace_queue.templatetags.psq import badge

SCOPES = [(scope.value, scope.value) for scope in Scope]


def _address_of_tasks() -> str:
    """Where the key can be used; empty when the API is served elsewhere."""
    try:
        return address("tasks")
    except NoReverseMatch:
        return ""


class ApiKeyForm(forms.ModelForm):
    """Scopes as boxes to tick."""

    scopes = forms.MultipleChoiceField(choices=SCOPES, widget=forms.CheckboxSelectMultiple)

    def clean_expires_at(self) -> Any:
        """A new end must be in the future."""
        moment = self.cleaned_data["expires_at"]
        is_changed = moment != self.instance.expires_at
        if moment is not None and is_changed and moment <= timezone.now():
            raise forms.ValidationError(_("It must be in the future; revoke a key to end it now."))
        return moment

    class Meta:
        model = ApiKey
        fields = ("organization", "name", "scopes", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(PageAdmin):
    """Keys of the API: shown once when issued, revoked here, never read again."""

    edits = Verb.SET_KEYS

    form = ApiKeyForm
    list_display = ("prefix", "organization_id", "name", "shown_state", "scopes", "last_used_at")
    list_filter = ("revoked_at",)
    search_fields = ("=organization__id", "prefix", "name")
    search_help_text = gettext_lazy("Organization, first characters of the key, or name.")
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
        row, obj.secret = queue_manager.create_key(  # type: ignore[attr-defined]
            obj.organization_id, scopes=obj.scopes, name=obj.name, expires_at=obj.expires_at
        )
        obj.pk, obj.prefix = row.pk, row.prefix

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only page that ever shows the key; it is kept in no message and no cookie."""
        shown = {"key": obj, "tasks": _address_of_tasks()}
        response = self.render(request, "apikey/issued.html", _("A new API key"), **shown)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description=gettext_lazy("Revoke"), permissions=["change"])
    def revoke_chosen(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        done = revoke_keys(queryset)
        self.message_user(request, _("%(count)d keys are revoked.") % {"count": done})

    @admin.display(description=gettext_lazy("State"))
    def shown_state(self, row: ApiKey) -> SafeString:
        if row.revoked_at is not None:
            return badge("revoked")
        has_expired = row.expires_at is not None and row.expires_at <= timezone.now()
        return badge("expired" if has_expired else "valid")
