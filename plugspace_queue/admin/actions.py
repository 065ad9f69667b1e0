"""Actions of operators: one call of the manager for each row, the count, an entry in the audit."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue import audit_log
from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.errors import QueueError

SHOWN_REFUSALS = 5
MOST = 1_000
"""Rows of one action: its request must end while the operator waits for it."""

MOST_COUNTED = 10_000
"""Counting stops here, as it reads every row."""

PAUSED, RESUMED = gettext_lazy("paused"), gettext_lazy("resumed")
QUEUED_FOR_RETRY = gettext_lazy("queued for retry")
CANCELLED = gettext_lazy("cancelled, or asked to stop")
"""What was done to the rows of an action."""


def run_action(
    request: HttpRequest,
    rows: QuerySet[Any] | list[Any],
    call: Callable[[Any], object],
    done: str | Promise,
    reason: str = "",
) -> int:
    """Call it for each of at most MOST rows; return for how many it was done.

    A row that refuses does not stop the others. `done` says what was done, as "paused".
    """
    changed: list[Any] = []
    refusals = []
    chosen, left = _bounded(rows)
    try:
        for row in chosen:
            try:
                call(row)
            except QueueError as error:
                refusals.append(f"{row}: {error.message}")
            else:
                changed.append(row)
    finally:
        # Also when a call raises something else: the calls before it have taken effect.
        note(request, changed, done, reason)
    level = messages.SUCCESS if changed or not refusals else messages.ERROR
    counts = {"done": len(changed), "all": len(changed) + len(refusals), "what": done}
    if reason:
        text = _("%(done)d of %(all)d %(what)s: %(reason)s.") % (counts | {"reason": reason})
    else:
        text = _("%(done)d of %(all)d %(what)s.") % counts
    messages.add_message(request, level, text)
    for line in refusals[:SHOWN_REFUSALS]:
        messages.warning(request, line)
    if left:
        text = _(
            "Only the first %(most)d were processed; %(left)s are left. Narrow the list by its"
            " filters and run the action again."
        )
        messages.warning(request, text % {"most": MOST, "left": left})
    return len(changed)


def note(request: HttpRequest, rows: list[Any], done: str | Promise, reason: str) -> None:
    """An entry in the audit for each row, in English whatever the language of the page."""
    with translation.override(None):
        audit_log.note(request.user.pk, rows, str(done), reason)


def count_up_to_limit(rows: QuerySet[Any]) -> tuple[int, bool]:
    """How many rows there are, at most MOST_COUNTED, and whether there are more."""
    count = rows.order_by()[: MOST_COUNTED + 1].count()
    return min(count, MOST_COUNTED), count > MOST_COUNTED


def _bounded(rows: QuerySet[Any] | list[Any]) -> tuple[list[Any], str]:
    """The rows of this action, and how many are left; counted only when some are."""
    some = list(rows[: MOST + 1])
    if len(some) <= MOST:
        return some, ""
    count, is_more = (len(rows), False) if isinstance(rows, list) else count_up_to_limit(rows)
    left = str(count - MOST)
    return some[:MOST], _("more than %(count)s") % {"count": left} if is_more else left


def retry_reason(request: HttpRequest) -> str:
    """Why a retry by staff is not charged, for the ledger."""
    return f"by {request.user.get_username()} in the admin"


class PauseActions(PageAdmin):
    """Pause and resume for chosen rows."""

    actions = ("pause_chosen", "resume_chosen")

    def pause_target(self, row: Any) -> dict[str, str]:
        """The arguments of `pause` and `resume` that name the row."""
        raise NotImplementedError

    @admin.action(description=gettext_lazy("Pause"), permissions=["pause"])
    def pause_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        def pause(row: Any) -> None:
            queue_manager.pause(**self.pause_target(row))

        run_action(request, queryset, pause, PAUSED)

    @admin.action(description=gettext_lazy("Resume"), permissions=["pause"])
    def resume_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        def resume(row: Any) -> None:
            queue_manager.resume(**self.pause_target(row))

        run_action(request, queryset, resume, RESUMED)
