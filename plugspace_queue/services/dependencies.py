"""Dependencies of new tasks: locks and counts the parents, and stores each task's chain."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.errors import InvalidState, NotFound
from plugspace_queue.models import Task, dependency_queries, task_queries
from plugspace_queue.schemas.requests import CallerContext, TaskRequest, canonical

DEFAULT_MAX_ITERATIONS = 10
LONGEST_HISTORY = 100
MOST_INHERITED = 32 * 1024
"""Most bytes of JSON of inherited remarks, as each task of a chain stores them again."""

NEW_CHAIN = {"previousTasks": [], "iterationCount": 0, "maxIterations": DEFAULT_MAX_ITERATIONS}
"""The stored context of a task without parents whose caller gives no context."""

Parents = Mapping[uuid.UUID, Task]


def parents_of(asked: Sequence[TaskRequest]) -> Parents:
    """All tasks that the requests refer to, by id; those in `depends_on` are locked."""
    waited_for = {task_id for new in asked for task_id in new.depends_on}
    named = {pk for new in asked if (pk := new.chain.parent_task_id) is not None}
    if not waited_for | named:
        return {}
    rows = task_queries.tasks_in_order(waited_for | named).defer("input", "result")
    if waited_for:
        # The lock orders this transaction and the end of a parent, so that no child stays blocked
        # by a parent that has already ended.
        rows = rows.select_for_update(no_key=True)
    return {row.pk: row for row in rows}


def follow(task: Task, new: TaskRequest, parents: Parents) -> None:
    """Set state, open dependencies and context of an unsaved task from its parents.

    Raises NotFound for a parent of another organization, InvalidState for one that ended without
    completing.
    """
    waited_for = [_parent(task_id, new, parents) for task_id in new.depends_on]
    for parent in waited_for:
        _require_hopeful(parent)
    named = new.chain.parent_task_id
    leaders = [_parent(named, new, parents)] if named else []
    if leaders or waited_for:
        task.context = next_context(
            new.chain,
            [*leaders, *waited_for],
            is_iteration=any(_is_iteration(leader, new) for leader in leaders),
            inherits_remarks=bool(leaders) or not _says_itself(new),
        )
    _block(task, sum(parent.state != State.COMPLETE for parent in waited_for))


def store_links(tasks: Sequence[Task], asked: Sequence[TaskRequest], parents: Parents) -> None:
    """Store the dependencies, and note the children in the contexts of their parents."""
    links = [
        (task.pk, parent_id)
        for task, new in zip(tasks, asked, strict=True)
        for parent_id in new.depends_on
    ]
    if not links:
        return
    dependency_queries.link(links)
    children: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for child_id, parent_id in links:
        children[parent_id].append(child_id)
    for parent_id, ids in children.items():
        add_chained(parents[parent_id], ids)
        task_queries.task_by_id(parent_id).update(context=parents[parent_id].context)


def _parent(task_id: uuid.UUID, new: TaskRequest, parents: Parents) -> Task:
    found = parents.get(task_id)
    if found is None or found.organization_id != new.organization_id:
        raise NotFound(
            _("No task %(task_id)s in this organization.") % {"task_id": task_id},
            task_id=str(task_id),
        )
    return found


def _require_hopeful(parent: Task) -> None:
    if parent.state in lifecycle.FINAL and parent.state != State.COMPLETE:
        raise InvalidState(
            _("Task %(parent)s is %(state)s; nothing can wait for it.")
            % {"parent": parent.pk, "state": parent.state},
            task_id=str(parent.pk),
            state=str(parent.state),
        )


def _says_itself(new: TaskRequest) -> bool:
    """Whether the request has feedback or a context, which inherited remarks could contradict."""
    return bool(new.chain.user_feedback or new.input.get("context"))


def _is_iteration(leader: Task, new: TaskRequest) -> bool:
    return leader.type == new.type or bool(new.chain.user_feedback)


def _block(task: Task, open_deps: int) -> None:
    if open_deps:
        task.state = State.BLOCKED
        task.open_deps = open_deps
        task.deadline = None


def first_context(given: CallerContext) -> dict[str, Any]:
    """The stored context of a task without parents."""
    context: dict[str, Any] = {
        "previousTasks": [],
        "iterationCount": 0,
        "maxIterations": given.max_iterations or DEFAULT_MAX_ITERATIONS,
    }
    if given.remarks:
        context["userFeedback"] = list(given.remarks)
    return context


def next_context(
    given: CallerContext,
    parents: Sequence[Task],
    *,
    is_iteration: bool,
    inherits_remarks: bool = True,
) -> dict[str, Any]:
    """The stored context of a task that follows `parents`; most values come from the first one.

    An iteration increments the count and adds its feedback to the newest earlier remarks. Raises
    InvalidState when the count exceeds the maximum.
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
    feedback = _newest_remarks(earlier, given.remarks)
    if feedback:
        context["userFeedback"] = feedback
    _require_iterations(context, is_iteration)
    return context


def step_context(
    context: dict[str, Any],
    *,
    parents: Sequence[uuid.UUID],
    earlier: Sequence[uuid.UUID],
    children: Sequence[uuid.UUID],
) -> dict[str, Any]:
    """The context of a workflow's step; `earlier` are all steps before it, parents too."""
    names = [str(task_id) for task_id in earlier]
    context["previousTasks"] = _newest([*context["previousTasks"], *names])
    if parents:
        context["parentTaskId"] = str(parents[0])
    if children:
        context["chainedTasks"] = [str(task_id) for task_id in children]
    return context


def add_chained(parent: Task, children: Iterable[uuid.UUID]) -> None:
    """Add children to a parent's context, which keeps the newest."""
    known = parent.context.get("chainedTasks", [])
    chained = _newest([*known, *(str(child) for child in children)])
    parent.context = {**parent.context, "chainedTasks": chained}


def _history(parents: Sequence[Task]) -> list[str]:
    earlier = [name for parent in parents for name in parent.context.get("previousTasks", [])]
    return _newest([*earlier, *(str(parent.pk) for parent in parents)])


def _newest(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))[-LONGEST_HISTORY:]


def _newest_remarks(earlier: Sequence[str], own: Sequence[str]) -> list[str]:
    """The caller's own remarks, preceded by the newest earlier ones that fit."""
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
    return len(canonical(value).encode())


def _require_iterations(context: dict[str, Any], is_iteration: bool) -> None:
    count, maximum = context["iterationCount"], context["maxIterations"]
    if is_iteration and count > maximum:
        raise InvalidState(
            _("Iteration %(count)s is above the maximum of %(maximum)s.")
            % {"count": count, "maximum": maximum},
            reason="MAX_ITERATIONS",
            iteration_count=count,
            max_iterations=maximum,
        )
