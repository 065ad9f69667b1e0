"""Where a task stands in its chain: the context that callers give and what the manager adds."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from plugspace_queue.door import validating
from plugspace_queue.errors import InvalidState
from plugspace_queue.models import Task

DEFAULT_MAX_ITERATIONS = 10
MOST_ITERATIONS = 1000
LONGEST_HISTORY = 100
LONGEST_FEEDBACK = 4000
MOST_INHERITED = 32 * 1024
"""Bytes of JSON up to which earlier remarks stay: each task of a chain stores them again."""

CALLERS = {"userFeedback", "maxIterations", "parentTaskId"}
MANAGERS = {"iterationCount", "previousTasks", "chainedTasks"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CallerContext:
    """What a caller may say about the chain."""

    user_feedback: tuple[str, ...] = ()
    max_iterations: int | None = None
    parent_task_id: uuid.UUID | None = None

    @classmethod
    def checked(cls, context: object) -> "CallerContext":
        """The context in a caller's mapping; raises ValidationRefused."""
        if context is None:
            return _NONE
        if not isinstance(context, dict):
            validating.refuse("context", "must be an object")
        for field in context.keys() - CALLERS:
            reason = "is filled by the manager" if field in MANAGERS else "is not known"
            validating.refuse(f"context.{field}", reason)
        maximum, parent = context.get("maxIterations"), context.get("parentTaskId")
        return cls(
            user_feedback=_feedback(context.get("userFeedback")),
            max_iterations=None if maximum is None else _maximum(maximum),
            parent_task_id=None if parent is None else _parent(parent),
        )

    @property
    def size(self) -> int:
        """Bytes of JSON of what the caller says; counted into MAX_INPUT."""
        return _bytes(self.user_feedback) if self.user_feedback else 0

    def as_data(self) -> dict[str, Any]:
        """For the fingerprint of what was asked."""
        return {
            "feedback": list(self.user_feedback),
            "maximum": self.max_iterations,
            "parent": self.parent_task_id and str(self.parent_task_id),
        }


_NONE = CallerContext()


def first_context(given: CallerContext) -> dict[str, Any]:
    """The stored context of a task that follows nothing."""
    context: dict[str, Any] = {
        "previousTasks": [],
        "iterationCount": 0,
        "maxIterations": given.max_iterations or DEFAULT_MAX_ITERATIONS,
    }
    if given.user_feedback:
        context["userFeedback"] = list(given.user_feedback)
    return context


def next_context(
    given: CallerContext,
    parents: Sequence[Task],
    *,
    is_iteration: bool,
    inherits_remarks: bool = True,
) -> dict[str, Any]:
    """The stored context of a task that follows `parents`, the first of which leads.

    An iteration counts one more and adds its feedback to the newest of the earlier ones. Raises
    InvalidState when that is above the maximum.
    """
    context = first_context(given)
    leader = parents[0].context
    context["parentTaskId"] = str(parents[0].pk)
    context["previousTasks"] = _history(parents)
    context["maxIterations"] = given.max_iterations or leader.get(
        "maxIterations", DEFAULT_MAX_ITERATIONS
    )
    context["iterationCount"] = leader.get("iterationCount", 0) + int(is_iteration)
    earlier = leader.get("userFeedback", []) if inherits_remarks else []
    feedback = _newest_remarks(earlier, given.user_feedback)
    if feedback:
        context["userFeedback"] = feedback
    _require_iterations(context, is_iteration)
    return context


def chain(contexts: Sequence[dict[str, Any]], ids: Sequence[uuid.UUID]) -> None:
    """Link the contexts of a workflow's steps: each follows the one before it."""
    names = [str(task_id) for task_id in ids]
    for at, context in enumerate(contexts):
        context["previousTasks"] = _newest([*context["previousTasks"], *names[:at]])
        if at:
            context["parentTaskId"] = names[at - 1]
        if at + 1 < len(names):
            context["chainedTasks"] = [names[at + 1]]


def add_chained(parent: Task, children: Iterable[uuid.UUID]) -> None:
    """Note in a parent's context who waits for it; the newest are kept."""
    known = parent.context.get("chainedTasks", [])
    chained = _newest([*known, *(str(child) for child in children)])
    parent.context = {**parent.context, "chainedTasks": chained}


def _history(parents: Sequence[Task]) -> list[str]:
    earlier = [name for parent in parents for name in parent.context.get("previousTasks", [])]
    return _newest([*earlier, *(str(parent.pk) for parent in parents)])


def _newest(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))[-LONGEST_HISTORY:]


def _newest_remarks(earlier: Sequence[str], own: Sequence[str]) -> list[str]:
    """All of the caller's own, and of the earlier ones the newest that still fit."""
    room = MOST_INHERITED - _bytes(own)
    most = LONGEST_HISTORY - len(own)
    first = len(earlier)
    while first and len(earlier) - first < most:
        room -= _bytes(earlier[first - 1]) + 1
        if room < 0:
            break
        first -= 1
    return [*earlier[first:], *own]


def _bytes(value: object) -> int:
    return len(validating.canonical(value).encode())


def _require_iterations(context: dict[str, Any], is_iteration: bool) -> None:
    count, maximum = context["iterationCount"], context["maxIterations"]
    if is_iteration and count > maximum:
        raise InvalidState(
            f"Iteration {count} is above the maximum of {maximum}.",
            reason="MAX_ITERATIONS",
            iteration_count=count,
            max_iterations=maximum,
        )


def _feedback(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > LONGEST_HISTORY:
        validating.refuse("context.userFeedback", f"must be a list of up to {LONGEST_HISTORY}")
    return tuple(_remark(entry) for entry in value)


def _remark(value: object) -> str:
    field = "context.userFeedback"
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_FEEDBACK:
        validating.refuse(field, f"must hold texts of 1 to {LONGEST_FEEDBACK} characters")
    validating.encoded(field, value)
    return value


def _maximum(value: object) -> int:
    return validating.whole("context.maxIterations", value, 1, MOST_ITERATIONS)


def _parent(value: object) -> uuid.UUID:
    return validating.task_ids("context.parentTaskId", [value])[0]
