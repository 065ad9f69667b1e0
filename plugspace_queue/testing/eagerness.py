"""`eager`: a submit runs its tasks before it returns."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import ModuleType
from typing import Any
from unittest.mock import patch

from plugspace_queue import manager
from plugspace_queue.models import Task, Workflow
from plugspace_queue.services import bulk_submission, retries, submission
from plugspace_queue.services.idempotency import SubmitResult
from plugspace_queue.testing import commits
from plugspace_queue.testing.running import run_these
from plugspace_queue.workflows.submission import WorkflowHandle

# Behind the manager's methods, so that its awaitable twins and the API are eager too.
_SUBMITS: tuple[tuple[ModuleType, str], ...] = (
    (submission, "submit_task"),
    (bulk_submission, "submit_tasks"),
    (manager, "submit_workflow"),
    (retries, "retry"),
    (retries, "retry_workflow"),
)


@contextmanager
def eager() -> Iterator[None]:
    """Run what is submitted at once, in the submitting thread: `with eager():`, or @eager().

    Covers add_task, add_tasks, add_workflow, retry and retry_workflow, in all threads of this
    process. Backoffs are skipped; what is scheduled, paused or waits for others stays. A failing
    task does not raise: its row says so.
    """
    with ExitStack() as patches:
        for module, name in _SUBMITS:
            patches.enter_context(patch.object(module, name, _at_once(getattr(module, name))))
        yield


def _at_once(submit: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(submit)
    def submit_and_run(*args: Any, **kwargs: Any) -> Any:
        with commits.committed():
            answer = submit(*args, **kwargs)
        ids = [task_id for part in _parts(answer) for task_id in _ids_of(part)]
        run_these(ids)
        for part in _parts(answer):
            _refresh(part)
        return answer

    return submit_and_run


def _parts(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else [answer]


def _ids_of(part: Any) -> list[uuid.UUID]:
    match part:
        case SubmitResult(subject=subject):
            return _ids_of(subject)
        case Task(pk=task_id):
            return [task_id]
        case Workflow() | WorkflowHandle():
            return list(part.task_ids)
    raise TypeError(part)


def _refresh(part: Any) -> None:
    match part:
        case SubmitResult(subject=subject):
            _refresh(subject)
        case Task() | Workflow():
            part.refresh_from_db()
