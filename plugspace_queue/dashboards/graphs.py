"""A workflow as a drawing: its steps in columns, each right of the last one it waits for."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plugspace_queue.domain.spans import span
from plugspace_queue.domain.text import shortened
from plugspace_queue.models import Task, dependency_queries, task_queries
from plugspace_queue.models.workflow import is_missed

COLUMNS = ("id", "type", "state", "step", "step_name", "may_fail", "duration", "workflow_id")
BOX = (168, 58)
GAP = (52, 22)
MARGIN = 6
LONGEST_NAME = 20
"""Most bytes of a step's name in its box."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step, where it is drawn and what it says."""

    task: Task
    x: int
    y: int
    took: str
    waits_for: tuple[str, ...]
    """Names of the steps before it."""

    @property
    def name(self) -> str:
        """The name of the step in its kind."""
        return self.task.name_in_workflow

    @property
    def short_name(self) -> str:
        """The name as far as it fits into its box."""
        return shortened(self.name, LONGEST_NAME)

    @property
    def is_missed(self) -> bool:
        """Whether its workflow went on without it."""
        return is_missed(self.task)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An arrow from a step to one that waits for it."""

    path: str
    head: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The whole drawing, in pixels."""

    nodes: list[Node]
    edges: list[Edge]
    width: int
    height: int


Parents = Mapping[uuid.UUID, Sequence[uuid.UUID]]


def graph_of(workflow_id: uuid.UUID) -> Graph:
    """The drawing of a workflow; two queries."""
    rows = task_queries.steps_of_one(workflow_id)
    tasks = list(rows.only(*COLUMNS))
    parents: dict[uuid.UUID, list[uuid.UUID]] = {task.pk: [] for task in tasks}
    for child, parent in dependency_queries.links_in_workflow(workflow_id):
        if parent in parents:
            parents[child].append(parent)
    return draw(tasks, parents)


def draw(tasks: Sequence[Task], parents: Parents) -> Graph:
    """Place the steps and join them."""
    columns = _columns([task.pk for task in tasks], parents)
    places: dict[uuid.UUID, tuple[int, int]] = {}
    heights: dict[int, int] = {}
    for task in tasks:
        column = columns[task.pk]
        row = heights.get(column, 0)
        heights[column] = row + 1
        places[task.pk] = (_at(column, 0), _at(row, 1))
    names = {task.pk: task.name_in_workflow for task in tasks}
    nodes = [
        Node(
            task=task,
            x=places[task.pk][0],
            y=places[task.pk][1],
            took="" if task.duration is None else span(task.duration / 1000),
            waits_for=tuple(names[parent] for parent in parents[task.pk]),
        )
        for task in tasks
    ]
    edges = [_edge(places[p], places[task.pk]) for task in tasks for p in parents[task.pk]]
    wide, high = len(heights), max(heights.values(), default=0)
    return Graph(nodes=nodes, edges=edges, width=_size(wide, 0), height=_size(high, 1))


def _columns(ids: Sequence[uuid.UUID], parents: Parents) -> dict[uuid.UUID, int]:
    """The length of the longest path to each step; a cycle, which no workflow has, ends at once."""
    found: dict[uuid.UUID, int] = {}

    def column(task_id: uuid.UUID, seen: frozenset[uuid.UUID]) -> int:
        if task_id not in found:
            before = [p for p in parents[task_id] if p not in seen]
            found[task_id] = max((column(p, seen | {task_id}) + 1 for p in before), default=0)
        return found[task_id]

    for task_id in ids:
        column(task_id, frozenset())
    return found


def _at(place: int, axis: int) -> int:
    return MARGIN + place * (BOX[axis] + GAP[axis])


def _size(places: int, axis: int) -> int:
    return 2 * MARGIN + max(places * (BOX[axis] + GAP[axis]) - GAP[axis], 0)


def _edge(start: tuple[int, int], end: tuple[int, int]) -> Edge:
    """From the right side of one box to the left side of the other."""
    x, y = start[0] + BOX[0], start[1] + BOX[1] // 2
    to_x, to_y = end[0] - 8, end[1] + BOX[1] // 2
    middle = (x + to_x) // 2
    return Edge(
        path=f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}",
        head=f"M{to_x + 8} {to_y}l-9 -5v10z",
    )
