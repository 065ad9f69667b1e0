"""Merges the outputs of earlier steps into the inputs of later ones."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task, task_queries

FLOWS: dict[str, dict[str, str]] = {
    "DESIGN": {"architecture": "ARCHITECT"},
    "CODE": {"architecture": "ARCHITECT", "design": "DESIGN"},
    "DEPLOY": {"code": "CODE"},
    "EXPORT": {"code": "CODE"},
}
"""For each type, the input fields that are filled from another type's output if omitted."""

Results = dict[str, Any]


def merge(
    task_type: TaskType | str, input: Mapping[str, Any], results: Mapping[str, Any]
) -> dict[str, Any]:
    """The input, with outputs of parents in fields that it omits.

    `results` maps a parent's TYPE (and its id) to its output.
    """
    merged = dict(input)
    for field, producer in FLOWS.get(task_type, {}).items():
        if merged.get(field) is None and results.get(producer) is not None:
            merged[field] = results[producer]
    return merged


def results_of(tasks: Sequence[Task]) -> dict[uuid.UUID, Results]:
    """The outputs that each task gets from earlier ones; at most two queries for all of them.

    Of a workflow: every earlier complete step, by TYPE. Of `depends_on`: every parent, by its id
    and by its TYPE (the last one of a type).
    """
    found: dict[uuid.UUID, Results] = {task.pk: {} for task in tasks}
    _add_steps(found, tasks)
    _add_parents(found, tasks)
    return found


def _add_steps(found: dict[uuid.UUID, Results], tasks: Sequence[Task]) -> None:
    later = [task for task in tasks if task.workflow_id is not None and task.step]
    if not later:
        return
    for step in task_queries.earlier_steps(later).only("workflow_id", "step", "type", "result"):
        for task in later:
            if task.workflow_id == step.workflow_id and (step.step or 0) < (task.step or 0):
                found[task.pk][step.type] = step.result


def _add_parents(found: dict[uuid.UUID, Results], tasks: Sequence[Task]) -> None:
    # The dependencies within a workflow are its steps, which `_add_steps` has found.
    alone = (task for task in tasks if task.workflow_id is None)
    followers = [task.pk for task in alone if task.context.get("previousTasks")]
    if not followers:
        return
    for task_id, parent_id, kind, result in task_queries.results_of_parents(followers):
        found[task_id][str(parent_id)] = result
        found[task_id][kind] = result
