"""Overrides and grants on the pages of queues and organizations: those in force and past, ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import Model
from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.admin.actions import note
from plugspace_queue.admin.forms import ReasonForm
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.errors import NotFound, QueueError
from plugspace_queue.models import Override
from plugspace_queue.models.overrides import OverrideState
from plugspace_queue.services import overrides

ReadValues = Callable[[Override], Mapping[str, Any]]
"""Reads what is in force where an override counts, to be compared for the audit."""


@dataclass(frozen=True, kw_only=True)
class OverrideLine:
    """One override in a list."""

    row: Override
    state: OverrideState
    end_url: str


@dataclass(frozen=True, kw_only=True)
class OverrideLists:
    """The overrides of a queue or of an organization, the newest first."""

    current: list[OverrideLine]
    """In force or to come."""
    past: list[OverrideLine]
    at: datetime


def lists_of(
    end_url: Callable[[int], str],
    *,
    task_type: str | None = None,
    organization_id: str | None = None,
) -> OverrideLists:
    """Those of one queue or one organization; at most 200, one query."""
    now = timezone.now()
    rows = queue_manager.get_overrides(task_type, organization_id, has_ended=True)
    lines = [
        OverrideLine(row=row, state=row.state_at(now), end_url=end_url(row.pk)) for row in rows
    ]
    return OverrideLists(
        current=[line for line in lines if line.state != "ended"],
        past=[line for line in lines if line.state == "ended"],
        at=now,
    )


def end_override(
    request: HttpRequest, override_id: int, owner: Model, in_force: ReadValues
) -> None:
    """End one for the reason of the POST; `owner` is the row whose history says so.

    Raises Http404 unless the owner's page shows it.
    """
    row = _of_owner(override_id, owner)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Nothing was ended: a reason is needed."))
        return
    before = in_force(row)
    try:
        ended = queue_manager.end_override(row.pk)
    except QueueError as error:
        messages.error(request, error.message)
        return
    text = overrides.audit_text([ended], before, in_force(row), is_end=True)
    note(request, [owner], text, form.cleaned_data["reason"])
    messages.success(request, _("Ended: %(what)s.") % {"what": f"{ended.type} {ended.said}"})


def _of_owner(override_id: int, owner: Model) -> Override:
    try:
        row = overrides.override_of(override_id)
    except NotFound as error:
        raise Http404(error.message) from None
    owned_by = row.type if row.organization_id is None else row.organization_id
    is_same_kind = (row.organization_id is None) == (owner._meta.model_name == "queuesettings")
    if not is_same_kind or owned_by != owner.pk:
        raise Http404(_("There is no such override here."))
    return row
