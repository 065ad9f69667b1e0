"""What RQ's verbs do with our tasks: the manager installs itself here, so that RQ's pages, commands
and classes can reach it from below.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verbs:
    """Both take the text of a task's id, `retry` its reason too; they raise `errors.QueueError`."""

    cancel: Callable[[str], object]
    retry: Callable[[str, str], object]


_installed: list[Verbs] = []


def install(verbs: Verbs) -> None:
    """Let RQ's cancel, delete, empty and requeue do this from now on."""
    _installed[:] = [verbs]


def cancel(task_id: str) -> None:
    """RQ's cancel, delete or empty of a task that has not ended."""
    _verbs().cancel(task_id)


def retry(task_id: str, reason: str = "requeued by RQ's means") -> None:
    """RQ's requeue of a task; the reason says why it costs nothing."""
    _verbs().retry(task_id, reason)


def _verbs() -> Verbs:
    if not _installed:
        raise RuntimeError("Django is not set up: call django.setup() before changing tasks.")
    return _installed[0]
