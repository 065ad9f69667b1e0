"""Another tier for an organization: a reason, the effect on waiting tasks, then the change."""

from typing import Any, NamedTuple

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from plugspace_queue.admin.actions import count_up_to_limit, note
from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.admin.forms import ReasonForm
from plugspace_queue.admin.grants import PAGE, organization_of
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import QueueError
from plugspace_queue.limits import policies
from plugspace_queue.limits.policies import Plan
from plugspace_queue.models import Organization, tenancy_queries
from plugspace_queue.services import tier_changes

TIER_ID = "tier_%s"


class TierChangeForm(ReasonForm):
    """Which tier, why, and whether waiting tasks move along."""

    tier = forms.ModelChoiceField(
        tenancy_queries.tiers(),
        required=False,
        empty_label=gettext_lazy("none (quotas and limits of free)"),
        label=gettext_lazy("Tier"),
    )
    move_waiting = forms.BooleanField(required=False)
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)
    field_order = ("tier", "reason")

    @property
    def slug(self) -> str | None:
        """The chosen tier; None for none."""
        tier = self.cleaned_data["tier"]
        return None if tier is None else tier.slug


class TierEffect(NamedTuple):
    """What a change of the tier does."""

    before: Plan
    after: Plan
    waiting: int
    """Waiting tasks that would get the priority of the new tier."""
    is_more: bool
    """Whether there are more of them than were counted."""


class TierChangeAdmin(PageAdmin):
    """The part of an organization's page about its tier."""

    def more_urls(self) -> list[URLPattern]:
        tier = self.address("<slug:object_id>/tier/", self.tier_view, "tier")
        return [*super().more_urls(), tier]

    def page_context(self, request: HttpRequest, row: Organization) -> dict[str, Any]:
        form = TierChangeForm(initial={"tier": row.tier_id}, auto_id=TIER_ID)
        return {**super().page_context(request, row), "tier_form": form}

    def tier_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the effect; a POST that confirms it changes the tier."""
        self.require(request, Verb.SET_ORGANIZATION)
        row = organization_of(object_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = TierChangeForm(request.POST, auto_id=TIER_ID)
        if form.is_valid():
            if form.slug == row.tier_id:
                messages.info(request, _("The tier was not changed: it is this one already."))
                return redirect(PAGE, row.pk)
            if form.cleaned_data["confirmed"]:
                self._change(request, row, form)
                return redirect(PAGE, row.pk)
        context = {
            "organization": row,
            "tier_form": form,
            "effect": _effect(row, form) if form.is_valid() else None,
        }
        title = _("Change the tier of %(name)s") % {"name": row}
        return self.render(request, "organization/tier.html", title, **context)

    def _change(self, request: HttpRequest, row: Organization, form: TierChangeForm) -> None:
        data, before = form.cleaned_data, row.tier_id or "none"
        try:
            moved = queue_manager.change_tier(row.pk, form.slug, move_waiting=data["move_waiting"])
        except QueueError as error:
            messages.error(request, error.message)
            return
        text = f"tier {before} → {form.slug or 'none'}"
        if data["move_waiting"]:
            text += f"; {moved} waiting tasks moved"
        note(request, [row], text, data["reason"])
        said = _("%(name)s has the tier %(tier)s.") % {"name": row, "tier": form.slug or _("none")}
        if data["move_waiting"]:
            counted = ngettext(
                "%(count)d waiting task was moved.", "%(count)d waiting tasks were moved.", moved
            )
            said = f"{said} {counted % {'count': moved}}"
        messages.success(request, said)


def _effect(row: Organization, form: TierChangeForm) -> TierEffect:
    before = policies.tier_of(row)
    after = policies.plan_of(form.cleaned_data["tier"])
    rows = tier_changes.waiting_of_other_priority(row, before, after)
    return TierEffect(before, after, *count_up_to_limit(rows))
