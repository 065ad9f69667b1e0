"""Grants on the page of an organization: how many more tasks, until when, and why."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import note
from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.admin.forms import MomentField, ReasonForm
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.admin.overrides import end_override, lists_of
from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import QueueError
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.models import Organization, tenancy_queries
from plugspace_queue.models.overrides import LONGEST_AUTHOR
from plugspace_queue.services import overrides
from plugspace_queue.services.overrides import MOST_GRANTED

PAGE = "admin:plugspace_queue_organization_change"
GRANT_ID = "grant_%s"


class GrantForm(ReasonForm):
    """Tasks beside the quota of a type."""

    type = forms.ChoiceField(label=gettext_lazy("Type"))
    amount = forms.IntegerField(
        min_value=1,
        max_value=MOST_GRANTED,
        label=gettext_lazy("More tasks"),
        help_text=gettext_lazy("Per month, beside the quota."),
    )
    until = MomentField(
        required=False,
        label=gettext_lazy("Until"),
        help_text=gettext_lazy("Empty: every month, until the grant is ended."),
    )
    field_order = ("type", "amount", "until", "reason")

    def __init__(self, data: Any = None, *, wanted: str = "", **kwargs: Any) -> None:
        initial = {"until": end_of_month(month_of(timezone.now())), "type": wanted}
        super().__init__(data, initial=initial, **kwargs)
        kinds = [(kind.value, kind.label) for kind in public_types()]
        self.fields["type"].choices = kinds  # type: ignore[attr-defined]


class GrantsAdmin(PageAdmin):
    """The part of an organization's page about grants."""

    def more_urls(self) -> list[URLPattern]:
        return [
            *super().more_urls(),
            self.address("<slug:object_id>/grant/", self.grant_view, "grant"),
            self.address("<slug:object_id>/grants/<int:pk>/end/", self.end_view, "end"),
        ]

    def page_context(self, request: HttpRequest, row: Organization) -> dict[str, Any]:
        form = GrantForm(wanted=request.GET.get("grant", ""), auto_id=GRANT_ID)
        lists = lists_of(partial(_end_url, row), organization_id=row.pk)
        return {**super().page_context(request, row), "grant": form, "grants": lists}

    def grant_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Grant more tasks, for a reason."""
        self.require(request, Verb.GRANT)
        row = organization_of(object_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = GrantForm(request.POST, auto_id=GRANT_ID)
        if form.is_valid():
            self._grant(request, row, form.cleaned_data)
            return redirect(PAGE, row.pk)
        title = _("Grant to %(name)s") % {"name": row}
        return self.render(request, "organization/grant.html", title, organization=row, grant=form)

    def end_view(self, request: HttpRequest, object_id: str, pk: int) -> HttpResponse:
        """End a grant, or a quota in the place of the tier's, for a reason."""
        self.require(request, Verb.GRANT)
        row = organization_of(object_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        end_override(request, pk, row, lambda one: overrides.quota_in_force(row, one.type))
        return redirect(PAGE, row.pk)

    def _grant(self, request: HttpRequest, row: Organization, data: dict[str, Any]) -> None:
        task_type, before = data["type"], overrides.quota_in_force(row, data["type"])
        try:
            made = queue_manager.grant(
                row.pk,
                task_type,
                data["amount"],
                until=data["until"],
                reason=data["reason"],
                author=request.user.get_username()[:LONGEST_AUTHOR],
            )
        except QueueError as error:
            messages.error(request, error.message)
            return
        after = overrides.quota_in_force(row, task_type)
        text = overrides.audit_text([made], before, after)
        note(request, [row], text, data["reason"])
        messages.success(request, f"{row}: {text}: {data['reason']}.")


def organization_of(object_id: str) -> Organization:
    """The organization with its tier; raises Http404."""
    row = tenancy_queries.organization_with_tier(object_id)
    if row is None:
        raise Http404(_("There is no such organization."))
    return row


def _end_url(row: Organization, pk: int) -> str:
    return reverse("admin:plugspace_queue_organization_end", args=[row.pk, pk])
