"""Assertions about tasks; their failures show the actual rows."""

import uuid
from collections.abc import Iterable
from typing import Any

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task, task_queries


def assert_submitted(type: TaskType | str, count: int | None = None, **fields: Any) -> list[Task]:
    """There are `count` tasks (None: at least one) of the type with these fields; the oldest first.

    `fields` are a task's (`organization_id="acme"`, `input={…}`) or Django's look-ups
    (`input__prompt="…"`). Raises AssertionError.
    """
    __tracebackhide__ = True
    found = [task for task in _rows(type, fields) if _has(task, fields)]
    if len(found) == count or (count is None and found):
        return found
    wanted = "at least one" if count is None else count
    shown = "".join(f", {name}={value!r}" for name, value in fields.items())
    raise AssertionError(
        f"Expected {wanted} of {TaskType(type)}{shown}; found {len(found)}. {_listed(_all())}"
    )


def assert_no_tasks(*types: TaskType | str) -> None:
    """Nothing was submitted (of these types). Raises AssertionError."""
    __tracebackhide__ = True
    rows = _all()
    if types:
        rows = rows.filter(type__in=[TaskType(kind) for kind in types])
    if rows.exists():
        raise AssertionError(f"Expected no tasks. {_listed(rows)}")


def assert_state(task: Task | uuid.UUID | str, state: State | str, code: str | None = None) -> Task:
    """The row is in this state, its error has this code; the task as its row is now.

    Raises AssertionError with the task's error, Task.DoesNotExist.
    """
    __tracebackhide__ = True
    row = task_queries.task_by_id(task.pk if isinstance(task, Task) else task).get()
    error = row.error or {}
    if row.state == State(state) and code in (None, error.get("code")):
        return row
    wanted = f"{State(state)}" + (f" with {code}" if code else "")
    raise AssertionError(f"Expected {wanted}: {_line(row)}{_stack(error)}")


def _all() -> Any:
    return task_queries.tasks_matching().oldest_first()


def _rows(kind: TaskType | str, fields: dict[str, Any]) -> Iterable[Task]:
    plain = {name: value for name, value in fields.items() if not _is_json(value)}
    rows: Iterable[Task] = _all().filter(type=TaskType(kind), **plain)
    return rows


def _has(task: Task, fields: dict[str, Any]) -> bool:
    # Not every database compares JSON regardless of the order of keys.
    return all(getattr(task, name) == value for name, value in fields.items() if _is_json(value))


def _is_json(value: object) -> bool:
    return isinstance(value, dict | list)


def _listed(rows: Any) -> str:
    lines = [_line(task) for task in rows[:20]]
    return "There are:\n  " + "\n  ".join(lines) if lines else "There are no tasks at all."


def _line(task: Task) -> str:
    error = task.error or {}
    failure = f", {error.get('code')}: {error.get('message')}" if error else ""
    return f"{task} of {task.organization_id} is {task.state}{failure}"


def _stack(error: dict[str, Any]) -> str:
    return f"\n{error['stack']}" if error.get("stack") else ""
