"""What the pump knows of each queue it takes from, and when it ends by itself."""

from dataclasses import dataclass, field

from plugspace_queue.broker.task_store import Note
from plugspace_queue.worker.messages import Settle
from plugspace_queue.worker.table import Held

MOST_HELD = 2
"""Leases not settled, for each slot: a slow database stops the taking, and a worker that is killed
leaves few that run again after they have ended."""


MOST_PER_CALL = 16
"""Leases of one script call: more would hold the server for milliseconds."""


@dataclass(eq=False)
class Desk:
    """What the pump knows of one queue."""

    name: str
    slots: int
    busy: int = 0
    """Slots taken: leases whose call has not come back."""
    held: int = 0
    """Leases not settled: those of busy slots, and endings on their way into the rows."""
    is_ready: bool = True
    """Whether there may be something in line."""
    is_deep: bool = True
    """Whether more may be in line than one call asks for: nobody has asked yet, or the last answer
    was full."""
    ask_at: float = 0.0
    rests_until: float = 0.0
    """Nothing is sent for it before: its last calls failed."""
    notes: list[Note] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)

    def free(self) -> int:
        return max(self.slots - self.busy, 0)

    def room(self) -> int:
        """Leases to ask for when what is settled goes first, in the same pipeline."""
        frees = sum(settle.held.has_slot and is_over(settle.held) for settle in self.settles)
        unsettled = self.held - len(self.settles)
        return min(self.slots - self.busy + frees, MOST_HELD * self.slots - unsettled)

    def asks(self, now: float, budget: int) -> list[int]:
        """How many leases to ask for, call by call; in one call alone while the line may be short.

        Calls that find nothing would hold up the first task of an idle worker.
        """
        wanted = min(self.room(), budget) if self.is_due(now) else 0
        most = wanted if self.is_deep else min(wanted, MOST_PER_CALL)
        return [min(most - done, MOST_PER_CALL) for done in range(0, most, MOST_PER_CALL)]

    def rest(self, now: float) -> float:
        """Seconds until anything may be sent for it."""
        return max(self.rests_until - now, 0.0)

    def wants_soon(self, now: float) -> list[float]:
        """Seconds until there is something to send for it, as far as it is known."""
        if self.rests_until > now and (self.is_ready or self.settles or self.notes):
            return [self.rests_until - now]
        return [max(self.ask_at, self.rests_until) - now] if self.ask_at and self.free() else []

    def is_due(self, now: float) -> bool:
        if self.rests_until > now:
            return False
        return self.is_ready or bool(self.ask_at and now >= self.ask_at)

    def may_ask(self, now: float) -> bool:
        return self.free() > 0 and self.is_due(now)


@dataclass(kw_only=True)
class Limits:
    """When to end by itself; None: never."""

    burst: bool = False
    max_jobs: int | None = None
    max_idle_time: float | None = None


def is_over(held: Held) -> bool:
    """Whether no call runs under this lease."""
    return held.run is None or held.run.is_returned
