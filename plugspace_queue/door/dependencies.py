"""Tasks that follow others: parents are looked up, locked and counted at acceptance."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.door import lineage
from plugspace_queue.door.new_task import NewTask
from plugspace_queue.errors import InvalidState, NotFound
from plugspace_queue.models import Dependency, Task

Parents = Mapping[uuid.UUID, Task]


def parents_of(asked: Sequence[NewTask]) -> Parents:
    """All tasks that these refer to, by id; those waited for cannot end before the commit."""
    waited_for = {task_id for new in asked for task_id in new.depends_on}
    named = {new.context.parent_task_id for new in asked} - {None}
    if not waited_for | named:
        return {}
    rows = Task.objects.filter(pk__in=waited_for | named).defer("input", "result").order_by("pk")
    if waited_for:
        # An ending parent waits for us or we for it: nobody is left hanging on a final row.
        rows = rows.select_for_update(no_key=True)
    return {row.pk: row for row in rows}


def follow(task: Task, new: NewTask, parents: Parents) -> None:
    """Put an unsaved task behind its parents: state, open dependencies, context.

    Raises NotFound for a parent that is not the organization's, InvalidState for one that ended
    without completing.
    """
    waited_for = [_parent(task_id, new, parents) for task_id in new.depends_on]
    for parent in waited_for:
        _require_hopeful(parent)
    named = new.context.parent_task_id
    leaders = [_parent(named, new, parents)] if named else []
    if leaders or waited_for:
        task.context = lineage.next_context(
            new.context,
            [*leaders, *waited_for],
            is_iteration=any(_is_iteration(leader, new) for leader in leaders),
            inherits_remarks=bool(leaders) or not _says_itself(new),
        )
    _block(task, sum(parent.state != State.COMPLETE for parent in waited_for))


def store_links(tasks: Sequence[Task], asked: Sequence[NewTask], parents: Parents) -> None:
    """Store who waits for whom, and tell the parents."""
    links = [
        Dependency(task=task, parent_id=parent_id)
        for task, new in zip(tasks, asked, strict=True)
        for parent_id in new.depends_on
    ]
    if not links:
        return
    Dependency.objects.bulk_create(links)
    children: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for link in links:
        children[link.parent_id].append(link.task_id)
    for parent_id, ids in children.items():
        lineage.add_chained(parents[parent_id], ids)
        Task.objects.filter(pk=parent_id).update(context=parents[parent_id].context)


def _parent(task_id: uuid.UUID, new: NewTask, parents: Parents) -> Task:
    found = parents.get(task_id)
    if found is None or found.organization_id != new.organization_id:
        raise NotFound(f"No task {task_id} in this organization.", task_id=str(task_id))
    return found


def _require_hopeful(parent: Task) -> None:
    if parent.state in lifecycle.FINAL and parent.state != State.COMPLETE:
        raise InvalidState(
            f"Task {parent.pk} is {parent.state}; nothing can wait for it.",
            task_id=str(parent.pk),
            state=str(parent.state),
        )


def _says_itself(new: NewTask) -> bool:
    """Whether it has a context of its own: remarks about a parent would contradict it."""
    return bool(new.context.user_feedback or new.input.get("context"))


def _is_iteration(leader: Task, new: NewTask) -> bool:
    return leader.type == new.type or bool(new.context.user_feedback)


def _block(task: Task, open_deps: int) -> None:
    if open_deps:
        task.state = State.BLOCKED
        task.open_deps = open_deps
        task.deadline = None
