"""The attempts under way: where each of them runs, how it is stopped, how its end is recorded."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.processing import attempt, outcome
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor, processor_of
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.worker.desk import Desk
from plugspace_queue.worker.isolation import ProcessSlots
from plugspace_queue.worker.loops import Loops
from plugspace_queue.worker.messages import Ended
from plugspace_queue.worker.retired import Retired
from plugspace_queue.worker.slots import Slots, ThreadSlots
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")


class Attempts:
    """Gives started attempts to slots and takes in how each of them ended."""

    def __init__(
        self,
        *,
        record: Callable[[Ended], None],
        returned: Callable[[Held], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._record = record
        self._returned = returned
        self._is_stopping = is_stopping
        self._retired = Retired()
        self._threads = ThreadSlots(self._ended)
        self._loops = Loops(self._ended, self._leave_behind)
        self._children = ProcessSlots(self._ended)

    def dispatch(self, held: Held, run: Run) -> None:
        """Give a started attempt to a slot; when the worker stops it goes back instead."""
        entry = processor_of(run.task.type)
        if self._is_stopping() or entry is None:
            run.is_returned = True
            self.hand_back(held, run)
            return
        self._slots_for(run, entry).start(held, run, entry)

    def is_late(self, run: Run) -> bool:
        """Whether its time is over; it stands still while another one keeps the event loop.

        That of an isolated attempt begins when its process has started.
        """
        if self._children.is_starting(run):
            return False
        is_held_up = self._loops.is_held_up(run)
        return not is_held_up and time.monotonic() - run.started > run.timeout

    def look(self) -> None:
        """Called at each beat: nothing waits for an event loop that does not turn."""
        self._loops.look()

    def cancel(self, run: Run) -> None:
        """Tell a coroutine, which does not look by itself; threads and children do."""
        self._loops.cancel(run)

    def interrupt(self, run: Run) -> None:
        for slots in self._slots():
            slots.interrupt(run)

    def give_up(self, held: Held, run: Run) -> None:
        """End an attempt that does not come back; its slot stays taken until it does."""
        if self._record_end(held, run, self._given_up(run)):
            # No error of its own: how the attempt ended is one record of `plugspace_queue.tasks`.
            logger.warning("%s does not stop; its slot is retired until it does", run.task_id)
            self._retired.add(held, run)
        self._loops.break_in(run)

    def hand_back(self, held: Held, run: Run) -> None:
        self._record_end(held, run, outcome.handed_back(run.task))

    def stop(self) -> None:
        for slots in self._slots():
            slots.stop()

    def vital(self) -> list[threading.Thread]:
        """Threads without which no attempt can go on."""
        return self._loops.vital()

    def why_useless(self, desks: Iterable[Desk]) -> str:
        """Why nothing of a queue can run here any more; empty while it can."""
        long = self._retired.longer_than(get_settings().hard_stop)
        if self._loops.are_useless():
            return "event loops do not turn"
        # A process that is still starting ends when it has.
        taken = Counter(held.queue for held, run in long if not self._children.is_starting(run))
        full = [desk.name for desk in desks if 0 < desk.slots <= taken[desk.name]]
        return f"every slot of {' and '.join(full)} is retired" if full else ""

    def _slots(self) -> list[Slots]:
        return [self._threads, self._loops, self._children]

    def _slots_for(self, run: Run, entry: Processor) -> Slots:
        # A task whose worker died runs alone: only a child's death may count on.
        if entry.isolation == "process" or run.task.recovery_count:
            return self._children
        if not entry.is_async:
            return self._threads
        return self._loops

    def _ended(self, held: Held, ending: Ending) -> None:
        """A slot's call came back."""
        run = held.run
        assert run is not None
        run.is_returned = True
        self._retired.remove(run)
        self._record_end(held, run, ending)
        self._returned(held)

    def _leave_behind(self, held: Held, run: Run, is_explained: bool) -> None:
        """End an attempt whose loop does not turn: nothing of it works, so its slot is free.

        Uncounted when another attempt is to blame; else it may be any, and each runs next alone.
        """
        ending = self._given_up(run)
        run.tell(Told.LOST)
        if not is_explained and ending.outcome is Outcome.HANDED_BACK:
            ending = outcome.lost(run.task)
        if self._record_end(held, run, ending):
            run.is_returned = True
            self._returned(held)

    def _given_up(self, run: Run) -> Ending:
        if run.told is Told.CANCEL:
            return outcome.cancelled(attempt.cancelled_failure())
        if run.told is Told.TIMEOUT:
            return outcome.after_failure(run.task, attempt.timeout_failure(run), clock.now())
        return outcome.handed_back(run.task)

    def _record_end(self, held: Held, run: Run, ending: Ending) -> bool:
        first = run.claim_record()
        if first:
            self._record(Ended(held, run, ending))
        return first
