"""What the threads of a worker say to each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from plugspace_queue.broker.task_store import Note, Reaped, Settlement
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.run import Run
from plugspace_queue.worker.table import Held

# To the pump.


@dataclass(frozen=True, slots=True)
class Settle:
    """The row is written (or needs none): close the lease."""

    held: Held
    settlement: Settlement
    bump_fence: int = 0


@dataclass(frozen=True, slots=True)
class Announce:
    """Snapshots and events to send along with the next round trip."""

    queue: str
    notes: Sequence[Note]


@dataclass(frozen=True, slots=True)
class Woken:
    """There may be work in this queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class Returned:
    """Calls of attempts came back: look at the list of those whose slots are free."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Take no more."""


@dataclass(frozen=True, slots=True)
class Together:
    """What one group commit leads to: one round trip for all of it."""

    messages: Sequence[Settle | Announce]


PumpMessage = Settle | Announce | Woken | Returned | Stop | Together


# To the recorder.


@dataclass(frozen=True, slots=True)
class Guard:
    """Leases just granted: look at the rows before anything runs."""

    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended so."""

    held: Held
    run: Run
    ending: Ending


@dataclass(frozen=True, slots=True)
class Progressed:
    """An attempt told its progress."""

    held: Held
    run: Run


@dataclass(frozen=True, slots=True)
class Lost:
    """The ticker took these from workers that let their leases run out."""

    queue: str
    reaped: Sequence[Reaped]


RecorderMessage = Guard | Ended | Progressed | Lost
