"""Merges the outputs of earlier steps into the inputs of later ones."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from plugspace_queue.domain.fields import Field, sources_of
from plugspace_queue.domain.task_types import of_row
from plugspace_queue.models import Task, dependency_queries, task_queries


class Results(dict[str, Any]):
    """The outputs that a task gets, by the names of steps (and ids of other tasks)."""

    kind: str = ""
    """The kind of its workflow, where that makes the step's input."""

    def __init__(self, outputs: Mapping[str, Any] | None = None) -> None:
        super().__init__(outputs or {})
        self._named: dict[str, str] = {}

    def add(self, name: str, task_type: str, output: Any) -> None:
        """Add the output of a step; the last one of a type is also found by that."""
        self[name] = output
        self._named[task_type] = name

    def of(self, source: str) -> Any:
        """The output of the step of this name, or else of this type; None without one."""
        return self.get(source if source in self else self._named.get(source, source))


def merge(task_type: str, input: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The input, with outputs of parents in fields that it omits."""
    found = results if isinstance(results, Results) else Results(results)
    merged = dict(input)
    for field in sources(task_type):
        output = found.of(field.source or "")
        if merged.get(field.key) is None and output is not None:
            merged[field.key] = output
    return merged


def sources(task_type: str) -> tuple[Field, ...]:
    """The input fields of a type that are filled from other outputs if omitted."""
    return sources_of(of_row(task_type).input.type)


def results_of(tasks: Sequence[Task]) -> dict[uuid.UUID, Results]:
    """The outputs that each task gets from earlier ones; at most two queries for most of them.

    Of a workflow: every complete step before it, by name. Of `depends_on`: every parent, by its id
    and by its TYPE (the last one of a type).
    """
    found = {task.pk: Results() for task in tasks}
    _add_steps(found, tasks)
    _add_parents(found, tasks)
    _add_kinds(found, tasks)
    return found


def _add_steps(found: dict[uuid.UUID, Results], tasks: Sequence[Task]) -> None:
    workflows, followers = set[uuid.UUID](), dict[str, list[Task]]()
    for task in tasks:
        if task.workflow_id is None or not task.step:
            continue
        workflows.add(task.workflow_id)
        for earlier in task.context.get("previousTasks", ()):
            followers.setdefault(earlier, []).append(task)
    if not followers:
        return
    rows = task_queries.complete_steps(workflows, followers)
    for step in rows.only("workflow_id", "step", "step_name", "type", "result"):
        for task in followers[str(step.pk)]:
            # A refinement also names tasks of the workflow that it continues.
            if task.workflow_id == step.workflow_id:
                found[task.pk].add(step.name_in_workflow, step.type, step.result)


def _add_parents(found: dict[uuid.UUID, Results], tasks: Sequence[Task]) -> None:
    # The dependencies within a workflow are its steps, which `_add_steps` has found.
    alone = (task for task in tasks if task.workflow_id is None)
    followers = [task.pk for task in alone if task.context.get("previousTasks")]
    if not followers:
        return
    for task_id, parent_id, task_type, result in dependency_queries.results_of_parents(followers):
        found[task_id][str(parent_id)] = result
        found[task_id][task_type] = result


def _add_kinds(found: dict[uuid.UUID, Results], tasks: Sequence[Task]) -> None:
    """For the few steps whose input their kind makes."""
    made = {t.pk: t.workflow_id for t in tasks if t.has_input_from and t.workflow_id}
    if not made:
        return
    kinds = dict(task_queries.kinds_of(made.values()))
    for task_id, workflow_id in made.items():
        found[task_id].kind = kinds.get(workflow_id, "")
