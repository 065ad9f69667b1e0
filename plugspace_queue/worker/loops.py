"""The event loop of a worker, and those left behind because an attempt keeps them from turning.

What does not turn does not work: its attempts go on elsewhere within their leases, on a new loop of
this worker or of another one. Who blocks the loop stays on it, to its end or its timeout.
"""

import logging
import threading
from collections.abc import Callable

from plugspace_queue.conf import get_settings
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run
from plugspace_queue.worker.looping import LoopSlots
from plugspace_queue.worker.slots import Ended
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")

MOST_UNEXPLAINED = 3
"""Loops that are blocked by no attempt that is known; with more the worker is of no use."""

LeaveBehind = Callable[[Held, Run, bool], None]
"""End an attempt that its loop keeps from going on; whether it is known what blocks the loop."""


class Loops:
    """Starts attempts on a loop that turns."""

    def __init__(self, ended: Ended, leave_behind: LeaveBehind) -> None:
        self._ended = ended
        self._leave_behind = leave_behind
        self._loop: LoopSlots | None = None
        self._blocked: dict[LoopSlots, Run | None] = {}
        """The loops left behind, and what blocked each of them, if that is known."""
        self._lock = threading.Lock()

    def start(self, held: Held, run: Run, entry: Processor) -> None:
        # Locked to the end: nothing is started on a loop that is being left.
        with self._lock:
            if self._loop is None:
                self._loop = LoopSlots(self._ended)
            self._loop.start(held, run, entry)

    def look(self) -> None:
        """Leave a loop that has not turned for nearly one lease; called again and again."""
        with self._lock:
            if self._loop is not None and self._loop.look() >= _longest_stand():
                self._leave(self._loop)
                self._loop = None
        for loop, blocker in list(self._blocked.items()):
            self._clear(loop, blocker)

    def cancel(self, run: Run) -> None:
        for loop in self._all():
            loop.cancel(run)

    def interrupt(self, run: Run) -> None:
        for loop in self._all():
            loop.interrupt(run)

    def break_in(self, run: Run) -> None:
        for loop in self._all():
            loop.break_in(run)

    def is_held_up(self, run: Run) -> bool:
        return any(loop.is_held_up(run) for loop in self._all())

    def stop(self) -> None:
        for loop in list(self._blocked):
            # Nobody waits for it: it may not turn for long.
            loop.end()
        if self._loop is not None:
            self._loop.stop()

    def vital(self) -> list[threading.Thread]:
        """The threads that may not end before the worker."""
        loop = self._loop
        return [loop.thread] if loop is not None else []

    def are_useless(self) -> bool:
        """Whether so many loops are blocked by nobody knows what that another one would be."""
        return list(self._blocked.values()).count(None) >= MOST_UNEXPLAINED

    def _all(self) -> list[LoopSlots]:
        loop = self._loop
        return [*([loop] if loop is not None else []), *list(self._blocked)]

    def _leave(self, loop: LoopSlots) -> None:
        blocker = loop.current()
        who = f"task {blocker.task_id}" if blocker is not None else "nobody knows what"
        logger.error("%s blocks the event loop; what else is on it goes on elsewhere", who)
        self._blocked[loop] = blocker

    def _clear(self, loop: LoopSlots, blocker: Run | None) -> None:
        """Send the others away, end the loop when it has no more to do, forget it when it ended."""
        runs = loop.runs()
        for held, run in runs:
            if run is not blocker and not run.is_recorded:
                self._leave_behind(held, run, blocker is not None)
                loop.cancel(run)
        if all(run.is_returned for _, run in runs):
            loop.end()
        if not loop.thread.is_alive():
            self._blocked.pop(loop, None)


def _longest_stand() -> float:
    """Seconds until a loop is left: what is on it is to be settled before its lease ends."""
    lease = get_settings().lease
    return max(lease - 2, lease / 2)
