"""Actions of operators: one call of the manager for each row, and an honest count told back."""

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest

from plugspace_queue.errors import QueueError

SHOWN = 5


def each(
    request: HttpRequest, rows: Iterable[Any], verb: Callable[[Any], object], said: str
) -> None:
    """Do it for each row; those that refuse say why and keep no other from its turn."""
    done, refused = 0, []
    for row in rows:
        try:
            verb(row)
        except QueueError as error:
            refused.append(f"{row}: {error.message}")
        else:
            done += 1
    level = messages.SUCCESS if done or not refused else messages.ERROR
    messages.add_message(request, level, f"{done} of {done + len(refused)} {said}.")
    for line in refused[:SHOWN]:
        messages.warning(request, line)


def reason(request: HttpRequest) -> str:
    """Why a retry of staff costs nothing: who pressed the button."""
    return f"by {request.user.get_username()} in the admin"
