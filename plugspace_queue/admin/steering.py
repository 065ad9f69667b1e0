"""Actions of operators: a call of the manager for each row, an honest count, a line of history."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest

from plugspace_queue import audit_log
from plugspace_queue.errors import QueueError

SHOWN = 5
MOST = 1_000
"""Rows that one press steers: a request must end while somebody waits for it."""

MOST_COUNTED = 10_000
"""Further than this nobody needs to know, and counting reads every row."""


def each(
    request: HttpRequest,
    rows: QuerySet[Any] | list[Any],
    verb: Callable[[Any], object],
    said: str,
    reason: str = "",
) -> None:
    """Do it for each of at most MOST rows; those that refuse keep no other from its turn."""
    done: list[Any] = []
    refused = []
    chosen, left = _bounded(rows)
    try:
        for row in chosen:
            try:
                verb(row)
            except QueueError as error:
                refused.append(f"{row}: {error.message}")
            else:
                done.append(row)
    finally:
        # Also when one breaks: what was done before it is done.
        audit_log.note(request.user.pk, done, said, reason)
    level = messages.SUCCESS if done or not refused else messages.ERROR
    messages.add_message(request, level, f"{len(done)} of {len(done) + len(refused)} {said}.")
    for line in refused[:SHOWN]:
        messages.warning(request, line)
    if left:
        messages.warning(
            request,
            f"{left.capitalize()} more were chosen and not touched: one press steers {MOST}."
            " Narrow the list by its filters, so that what is done leaves it, and press again.",
        )


def note(request: HttpRequest, row: Any, said: str, reason: str) -> None:
    """Who did it and why, in the history of one row."""
    audit_log.note(request.user.pk, [row], said, reason)


def counted(rows: QuerySet[Any]) -> tuple[int, bool]:
    """How many there are, as far as it is worth counting, and whether there are more."""
    count = rows.order_by()[: MOST_COUNTED + 1].count()
    return min(count, MOST_COUNTED), count > MOST_COUNTED


def _bounded(rows: QuerySet[Any] | list[Any]) -> tuple[list[Any], str]:
    """The rows of this press, and how many are left; counted only when some are."""
    some = list(rows[: MOST + 1])
    if len(some) <= MOST:
        return some, ""
    count, is_more = (len(rows), False) if isinstance(rows, list) else counted(rows)
    return some[:MOST], f"{'more than ' if is_more else ''}{count - MOST}"


def giver(request: HttpRequest) -> str:
    """Why a retry of staff costs nothing: who pressed the button."""
    return f"by {request.user.get_username()} in the admin"
