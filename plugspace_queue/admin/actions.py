"""Actions of operators: one call of the manager for each row, the count, an entry in the audit."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from plugspace_queue import audit_log
from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.errors import QueueError
from plugspace_queue.manager import queue_manager

SHOWN_REFUSALS = 5
MOST = 1_000
"""Rows of one action: its request must end while the operator waits for it."""

MOST_COUNTED = 10_000
"""Counting stops here, as it reads every row."""


def run_action(
    request: HttpRequest,
    rows: QuerySet[Any] | list[Any],
    call: Callable[[Any], object],
    done: str,
    reason: str = "",
) -> None:
    """Call it for each of at most MOST rows; a row that refuses does not stop the others."""
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
        audit_log.note(request.user.pk, changed, done, reason)
    level = messages.SUCCESS if changed or not refusals else messages.ERROR
    said = f"{done}: {reason}" if reason else done
    messages.add_message(
        request, level, f"{len(changed)} of {len(changed) + len(refusals)} {said}."
    )
    for line in refusals[:SHOWN_REFUSALS]:
        messages.warning(request, line)
    if left:
        messages.warning(
            request,
            f"{left.capitalize()} more were chosen and not touched: one press steers {MOST}."
            " Narrow the list by its filters, so that what is done leaves it, and press again.",
        )


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
    return some[:MOST], f"{'more than ' if is_more else ''}{count - MOST}"


def retry_reason(request: HttpRequest) -> str:
    """Why a retry by staff is not charged, for the ledger."""
    return f"by {request.user.get_username()} in the admin"


class PauseActions(PageAdmin):
    """Pause and resume for chosen rows."""

    actions = ("pause_chosen", "resume_chosen")

    def pause_target(self, row: Any) -> dict[str, str]:
        """The arguments of `pause` and `resume` that name the row."""
        raise NotImplementedError

    @admin.action(description="Pause", permissions=["pause"])
    def pause_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        def pause(row: Any) -> None:
            queue_manager.pause(**self.pause_target(row))

        run_action(request, queryset, pause, "paused")

    @admin.action(description="Resume", permissions=["pause"])
    def resume_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        def resume(row: Any) -> None:
            queue_manager.resume(**self.pause_target(row))

        run_action(request, queryset, resume, "resumed")
