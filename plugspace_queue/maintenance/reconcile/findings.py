"""The findings of a comparison of rows with Redis: kinds of differences, each with its codes.

A code names the observation, a kind the problem and its repair. Codes and scopes are read by
scripts and counted in metrics, so they do not change.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from django.utils.translation import gettext_noop as _


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
        "structure",
        _QUEUE,
        _("a structure contradicts idx or own, or is of a wrong type"),
        _("rebuilt"),
    ): "key_strange fence_strange wait_differs active_differs lease_differs record_differs"
    " runs_and_waits running_count",
    FindingKind(
        "torn", _TASK, _("in idx, but not at its place in wait"), _("wait is rebuilt")
    ): "torn",
    FindingKind(
        "settings",
        _QUEUE,
        _("limits, pauses or lifetime counts differ"),
        _("written from the rows"),
    ): "gates_differ pauses_differ lifetime_differs",
    FindingKind(
        "attempt_lost",
        _TASK,
        _("its row runs, but no worker holds it"),
        _("taken back, waits again"),
    ): "lease_ended processing_in_line attempt_lost",
    FindingKind(
        "ghost_running", _TASK, _("has an owner, but its row does not run"), _("its lease is ended")
    ): "ghost_running",
    FindingKind(
        "parents_ended", _TASK, _("blocked, but its parents ended"), _("released, or cancelled")
    ): "hanging orphaned",
    FindingKind(
        "misplaced",
        _TASK,
        _("in line, but not as its row says"),
        _("taken out, published by its row"),
    ): "ghost blocked_in_line not_in_lane wrong_lane job_missing doubled late",
    FindingKind(
        "unpublished", _TASK, _("waits, but Redis does not know it"), _("published"), at_once=True
    ): "unpublished",
    FindingKind(
        "lane", FindingScope.LANE, _("a lane contradicts idx, or the order"), _("rebuilt from idx")
    ): "lane_strange lane_empty lane_doubled lane_off lane_held lane_strays",
    FindingKind(
        "snapshot", _TASK, _("its snapshot is missing or no copy of it"), _("written"), at_once=True
    ): "snapshot_missing snapshot_garbled",
    FindingKind(
        "organization", FindingScope.ORGANIZATION, _("a copy differs"), _("written"), at_once=True
    ): "usage_differs tier_differs newest_missing",
    FindingKind(
        "workflow",
        FindingScope.WORKFLOW,
        _("its copy is missing or differs"),
        _("written"),
        at_once=True,
    ): "workflow_missing workflow_differs",
    FindingKind(
        "ended",
        FindingScope.ENDED,
        _("ended, but its snapshot differs"),
        _("written"),
        at_once=True,
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
