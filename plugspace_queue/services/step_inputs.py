"""How the outputs of earlier steps become the input of later ones."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q

from plugspace_queue.domain.enums import State, TaskType
from plugspace_queue.models import Dependency, Task

FLOWS: dict[TaskType, dict[str, TaskType]] = {
    TaskType.DESIGN: {"architecture": TaskType.ARCHITECT},
    TaskType.CODE: {"architecture": TaskType.ARCHITECT, "design": TaskType.DESIGN},
    TaskType.DEPLOY: {"code": TaskType.CODE},
    TaskType.EXPORT: {"code": TaskType.CODE},
}
"""Which field of an input is filled from which type's output, when the caller left it out."""

Results = dict[str, Any]


def merge(
    task_type: TaskType | str, input: Mapping[str, Any], results: Mapping[str, Any]
) -> dict[str, Any]:
    """The input with what parents made, where it has nothing of its own.

    `results` maps a parent's TYPE (and its id) to its output.
    """
    merged = dict(input)
    for field, producer in FLOWS.get(TaskType(task_type), {}).items():
        if merged.get(field) is None and results.get(producer) is not None:
            merged[field] = results[producer]
    return merged


def results_of(tasks: Sequence[Task]) -> dict[uuid.UUID, Results]:
    """What each task gets from those before it; at most two queries for all of them.

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
    earlier = Q()
    for task in later:
        earlier |= Q(workflow_id=task.workflow_id, step__lt=task.step)
    steps = Task.objects.filter(earlier, state=State.COMPLETE).order_by("step")
    for step in steps.only("workflow_id", "step", "type", "result"):
        for task in later:
            if task.workflow_id == step.workflow_id and (step.step or 0) < (task.step or 0):
                found[task.pk][step.type] = step.result


def _add_parents(found: dict[uuid.UUID, Results], tasks: Sequence[Task]) -> None:
    # A workflow's own links are steps, which are found already.
    alone = (task for task in tasks if task.workflow_id is None)
    followers = [task.pk for task in alone if task.context.get("previousTasks")]
    if not followers:
        return
    links = Dependency.objects.filter(task__in=followers, parent__state=State.COMPLETE)
    for task_id, parent_id, kind, result in links.order_by("parent_id").values_list(
        "task_id", "parent_id", "parent__type", "parent__result"
    ):
        found[task_id][str(parent_id)] = result
        found[task_id][kind] = result
