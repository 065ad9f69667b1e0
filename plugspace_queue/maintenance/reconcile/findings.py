"""The findings of a comparison of rows with Redis: kinds of differences, each with its codes.

A code names the observation, a kind the problem and its repair. Codes and scopes are read by
scripts and counted in metrics, so they do not change.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class FindingScope(StrEnum):
    """What the key of a finding identifies, so that it can be compared again."""

    TASK = "task"
    LANE = "lane"
    QUEUE = "queue"
    ORGANIZATION = "organization"
    WORKFLOW = "workflow"
    ENDED = "ended"
    """A task that has ended."""


@dataclass(frozen=True, slots=True)
class FindingKind:
    """One kind of difference."""

    name: str
    scope: FindingScope
    text: str
    repair: str
    """What the repair does, in words."""
    at_once: bool = False
    """Whether it is repaired without a second comparison, as a needless repair is harmless."""


_TASK, _QUEUE = FindingScope.TASK, FindingScope.QUEUE

_KINDS = {
    FindingKind(
        "structure", _QUEUE, "a structure contradicts idx or own, or is of a wrong type", "rebuilt"
    ): "key_strange fence_strange wait_differs active_differs lease_differs record_differs"
    " runs_and_waits running_count",
    FindingKind("torn", _TASK, "in idx, but not at its place in wait", "wait is rebuilt"): "torn",
    FindingKind(
        "settings", _QUEUE, "limits, pauses or lifetime counts differ", "written from the rows"
    ): "gates_differ pauses_differ lifetime_differs",
    FindingKind(
        "attempt_lost", _TASK, "its row runs, but no worker holds it", "taken back, waits again"
    ): "lease_ended processing_in_line attempt_lost",
    FindingKind(
        "ghost_running", _TASK, "has an owner, but its row does not run", "its lease is ended"
    ): "ghost_running",
    FindingKind(
        "parents_ended", _TASK, "blocked, but its parents ended", "released, or cancelled"
    ): "hanging orphaned",
    FindingKind(
        "misplaced", _TASK, "in line, but not as its row says", "taken out, published by its row"
    ): "ghost blocked_in_line not_in_lane wrong_lane job_missing doubled late",
    FindingKind(
        "unpublished", _TASK, "waits, but Redis does not know it", "published", at_once=True
    ): "unpublished",
    FindingKind(
        "lane", FindingScope.LANE, "a lane contradicts idx, or the order", "rebuilt from idx"
    ): "lane_strange lane_empty lane_doubled lane_off lane_held lane_strays",
    FindingKind(
        "snapshot", _TASK, "its snapshot is missing or no copy of it", "written", at_once=True
    ): "snapshot_missing snapshot_garbled",
    FindingKind(
        "organization", FindingScope.ORGANIZATION, "a copy differs", "written", at_once=True
    ): "usage_differs tier_differs newest_missing",
    FindingKind(
        "workflow", FindingScope.WORKFLOW, "its copy is missing or differs", "written", at_once=True
    ): "workflow_missing workflow_differs",
    FindingKind(
        "ended", FindingScope.ENDED, "ended, but its snapshot differs", "written", at_once=True
    ): "snapshot_differs",
}

KINDS = tuple(_KINDS)
"""In the order of repair: contradictions within Redis first, then differences to rows."""

KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes.split()}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference; equal findings of two comparisons are the same difference."""

    code: str
    queue: str
    """Task type, or empty."""
    key: str
    """A task's id, a lane, an organization…, depending on the scope of its kind."""
    fence: int = 0
    """The attempt concerned, so that the same problem of the next attempt is another finding."""
    detail: str = field(default="", compare=False)

    @property
    def kind(self) -> FindingKind:
        """What is wrong, and how it is repaired."""
        return KIND_OF[self.code]
