"""What a look can find: one kind for each way in which rows and Redis may differ."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    """What the key of a finding names, so that the same can be looked at again."""

    TASK = "task"
    LANE = "lane"
    QUEUE = "queue"
    ORGANIZATION = "organization"
    WORKFLOW = "workflow"
    ENDED = "ended"
    """A task that has ended."""


class Kind(StrEnum):
    """Stable codes; what each means stands in MEANINGS."""

    UNPUBLISHED = "unpublished"
    GHOST = "ghost"
    GHOST_RUNNING = "ghost_running"
    BLOCKED_IN_LINE = "blocked_in_line"
    HANGING = "hanging"
    ORPHANED = "orphaned"
    TORN = "torn"
    NOT_IN_LANE = "not_in_lane"
    WRONG_LANE = "wrong_lane"
    JOB_MISSING = "job_missing"
    DOUBLED = "doubled"
    LATE = "late"
    PROCESSING_IN_LINE = "processing_in_line"
    ATTEMPT_LOST = "attempt_lost"
    LEASE_ENDED = "lease_ended"
    SNAPSHOT_MISSING = "snapshot_missing"
    SNAPSHOT_GARBLED = "snapshot_garbled"
    LANE_STRANGE = "lane_strange"
    LANE_EMPTY = "lane_empty"
    LANE_DOUBLED = "lane_doubled"
    LANE_OFF = "lane_off"
    LANE_HELD = "lane_held"
    LANE_STRAYS = "lane_strays"
    WAIT_DIFFERS = "wait_differs"
    ACTIVE_DIFFERS = "active_differs"
    LEASE_DIFFERS = "lease_differs"
    RECORD_DIFFERS = "record_differs"
    RUNS_AND_WAITS = "runs_and_waits"
    RUNNING_COUNT = "running_count"
    KEY_STRANGE = "key_strange"
    FENCE_STRANGE = "fence_strange"
    GATES_DIFFER = "gates_differ"
    PAUSES_DIFFER = "pauses_differ"
    LIFETIME_DIFFERS = "lifetime_differs"
    USAGE_DIFFERS = "usage_differs"
    TIER_DIFFERS = "tier_differs"
    NEWEST_MISSING = "newest_missing"
    WORKFLOW_MISSING = "workflow_missing"
    WORKFLOW_DIFFERS = "workflow_differs"
    SNAPSHOT_DIFFERS = "snapshot_differs"


class Meaning(NamedTuple):
    """What a kind says, and what its repair does."""

    scope: Scope
    text: str
    repair: str
    at_once: bool = False
    """Whether its repair needs no second look: it does no harm where nothing was wrong."""


_LINE_UP = "taken out of the line, then published as its row says"
_LANE = "its lane is written anew from idx"
_RUNNING = "made to agree with own"
_T, _L, _Q, _O = Scope.TASK, Scope.LANE, Scope.QUEUE, Scope.ORGANIZATION

MEANINGS: dict[Kind, Meaning] = {
    Kind.UNPUBLISHED: Meaning(_T, "waits, but Redis does not know it", "published", True),
    Kind.GHOST: Meaning(_T, "in line, but its row ended, is gone or is elsewhere", _LINE_UP),
    Kind.GHOST_RUNNING: Meaning(_T, "has an owner, but its row does not run", "its lease is ended"),
    Kind.BLOCKED_IN_LINE: Meaning(_T, "in line before its parents ended", _LINE_UP),
    Kind.HANGING: Meaning(_T, "blocked, but all its parents completed", "released"),
    Kind.ORPHANED: Meaning(_T, "blocked, but a parent will not complete", "cancelled, refunded"),
    Kind.TORN: Meaning(_T, "in idx, but not at its place in wait", "wait is written anew"),
    Kind.NOT_IN_LANE: Meaning(_T, "in idx, but not in its lane", _LINE_UP),
    Kind.WRONG_LANE: Meaning(_T, "in another lane than its row says", _LINE_UP),
    Kind.JOB_MISSING: Meaning(_T, "in line without RQ's job", _LINE_UP),
    Kind.DOUBLED: Meaning(_T, "waits and is delayed", _LINE_UP),
    Kind.LATE: Meaning(_T, "delayed for longer than its row says", _LINE_UP),
    Kind.PROCESSING_IN_LINE: Meaning(_T, "its row runs, but it is in line", "its row waits again"),
    Kind.ATTEMPT_LOST: Meaning(_T, "its row runs, but Redis does not know it", "it waits again"),
    Kind.LEASE_ENDED: Meaning(_T, "its lease ran out, and nobody took it back", "taken back"),
    Kind.SNAPSHOT_MISSING: Meaning(_T, "has no snapshot", "written", True),
    Kind.SNAPSHOT_GARBLED: Meaning(_T, "its snapshot is no task, or another one", "written", True),
    Kind.LANE_STRANGE: Meaning(_L, "in the order, but no lane", "taken out of it"),
    Kind.LANE_EMPTY: Meaning(_L, "in the order without tasks", _LANE),
    Kind.LANE_DOUBLED: Meaning(_L, "on the ring and parked", _LANE),
    Kind.LANE_OFF: Meaning(_L, "has tasks, but is not in the order", _LANE),
    Kind.LANE_HELD: Meaning(_L, "parked, but nothing holds it", _LANE),
    Kind.LANE_STRAYS: Meaning(_L, "has entries that do not belong there", _LANE),
    Kind.WAIT_DIFFERS: Meaning(_Q, "wait and idx differ in length", "wait is written anew"),
    Kind.ACTIVE_DIFFERS: Meaning(_Q, "active and own differ", _RUNNING),
    Kind.LEASE_DIFFERS: Meaning(_Q, "leases and own differ", _RUNNING),
    Kind.RECORD_DIFFERS: Meaning(_Q, "RQ's started jobs and own differ", _RUNNING),
    Kind.RUNS_AND_WAITS: Meaning(_Q, "runs, and is in line too", "taken out of the line"),
    Kind.RUNNING_COUNT: Meaning(_Q, "running tasks are counted wrongly", _RUNNING),
    Kind.KEY_STRANGE: Meaning(_Q, "a key is of a wrong type", "deleted, and written from the rows"),
    Kind.FENCE_STRANGE: Meaning(_Q, "the last fence is no fence", "begins anew with the time"),
    Kind.GATES_DIFFER: Meaning(_Q, "limits or pause differ from the row", "written from the row"),
    Kind.PAUSES_DIFFER: Meaning(_Q, "paused organizations differ", "written from the rows"),
    Kind.LIFETIME_DIFFERS: Meaning(_Q, "lifetime counts differ", "counted up or down"),
    Kind.USAGE_DIFFERS: Meaning(_O, "usage differs from the row", "written", True),
    Kind.TIER_DIFFERS: Meaning(_O, "tier differs from the row", "written", True),
    Kind.NEWEST_MISSING: Meaning(_O, "has no list of newest tasks", "written", True),
    Kind.WORKFLOW_MISSING: Meaning(Scope.WORKFLOW, "has no copy", "written", True),
    Kind.WORKFLOW_DIFFERS: Meaning(Scope.WORKFLOW, "its copy tells other states", "written", True),
    Kind.SNAPSHOT_DIFFERS: Meaning(
        Scope.ENDED, "ended, but its snapshot tells another state", "written", True
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference; two looks found the same when these are equal."""

    kind: Kind
    queue: str
    """Task type, or empty."""
    key: str
    """A task's id, a lane, an organization…, as the scope of the kind says."""
    fence: int = 0
    """Of the attempt it is about, so that the next one is another finding."""
    detail: str = field(default="", compare=False)

    @property
    def meaning(self) -> Meaning:
        """What it says in words."""
        return MEANINGS[self.kind]
