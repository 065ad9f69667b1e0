"""Attempts of async processors run on an event loop, in a thread of its own.

A loop that one of them blocks is left to it: the others run again within their leases, on a new
loop of this worker or of another one. Who blocks the loop stays on it, to its end or its timeout.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.processing.execute import result_of_error, run_async
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.processing.registry import Processor
from plugspace_queue.worker.executors.base import Interrupted, OnEnd, end_if_forked, raise_in
from plugspace_queue.worker.state import HeldLease

logger = logging.getLogger("plugspace_queue.worker")

BEAT = 0.2
"""Seconds between two signs that the loop turns."""

PATIENCE = 0.5
"""Seconds without one after which the loop counts as blocked."""

LONGEST_LOOK = 1.0
"""Seconds between two looks at the loop that count at most: a process that was stopped, or had no
turn on its machine, does not blame its loop."""

T = TypeVar("T")
Awaited = Coroutine[Any, Any, T] | Generator[Any, None, T]

_RUN: ContextVar[Execution] = ContextVar("plugspace_run")
"""The attempt in whose context a coroutine runs; the tasks that it makes inherit it."""


class EventLoop:
    """One event loop; what one processor does to it ends nobody else's attempt."""

    def __init__(self, ended: OnEnd) -> None:
        self._ended = ended
        self._owner = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._make_task)
        self._tasks: dict[Execution, asyncio.Task[AttemptResult]] = {}
        self._owners: weakref.WeakKeyDictionary[asyncio.Future[Any], Execution]
        self._owners = weakref.WeakKeyDictionary()
        self._runs: dict[Execution, HeldLease] = {}
        self._unheard: set[Execution] = set()
        self._is_stopping = False
        self._turned_at = self._looked_at = self._seen_turn = time.monotonic()
        self._stood = 0.0
        self._blocker: Execution | None = None
        self._next_beat: asyncio.TimerHandle | None = None
        self.thread = threading.Thread(target=self._serve, name="plugspace-loop", daemon=True)
        self.thread.start()

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        self._runs[execution] = held
        self._loop.call_soon_threadsafe(self._launch, held, execution, entry)

    def cancel(self, execution: Execution) -> None:
        """Ask a coroutine to end; it may take its time until it is interrupted."""
        if execution in self._runs:
            self._soon(self._cancel, execution)

    def interrupt(self, execution: Execution) -> None:
        if execution not in self._runs:
            return
        self._unheard.add(execution)
        self._soon(self._heard, execution)
        self._soon(self._cancel, execution)

    def is_held_up(self, execution: Execution) -> bool:
        """Whether it cannot go on because another attempt keeps the loop from turning.

        Asked again and again; whoever keeps it is noted, for what that took is no time of others.
        """
        if execution not in self._runs or time.monotonic() - self._turned_at < PATIENCE:
            return False
        self._blocker = self.current()
        return self._blocker not in (None, execution)

    def current(self) -> Execution | None:
        """The attempt whose code runs right now: its own coroutine, or a task that it made."""
        task = asyncio.current_task(self._loop)
        return self._owners.get(task) if task is not None else None

    def look(self) -> float:
        """For how long the loop has not turned, as far as it was looked at."""
        now, turned_at = time.monotonic(), self._turned_at
        if turned_at != self._seen_turn:
            self._seen_turn, self._stood = turned_at, 0.0
        else:
            self._stood += min(now - self._looked_at, LONGEST_LOOK)
        self._looked_at = now
        return self._stood

    def executions(self) -> list[tuple[HeldLease, Execution]]:
        """The attempts whose calls have not come back."""
        return [(held, execution) for execution, held in self._runs.copy().items()]

    def break_in(self, execution: Execution) -> None:
        """Interrupt code that keeps the loop from turning: a cancel it does not hear.

        Only when it surely does, for whatever runs in the loop's thread is hit.
        """
        if (
            execution in self._unheard
            and self.current() is execution
            and self.thread.ident is not None
        ):
            raise_in(self.thread.ident)

    def end(self) -> None:
        """End the loop as soon as it turns, and with it whatever is still on it."""
        self._is_stopping = True
        self._soon(self._loop.stop)

    def stop(self) -> None:
        """End the loop; attempts still on it were handed back before."""
        self.end()
        self.thread.join(timeout=1.0)

    def _soon(self, function: Callable[..., object], *arguments: Execution) -> None:
        # It may have ended by itself: then there is nothing left to cancel.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Awaited[T], /, **options: Any
    ) -> asyncio.Task[T]:
        """A task that is known to be of the attempt that made it."""
        task = asyncio.Task(coroutine, loop=loop, **options)
        if execution := _RUN.get(None):
            self._owners[task] = execution
        return task

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._is_stopping:
            self._turn()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _turn(self) -> None:
        """Run the loop until it is stopped; a processor may do so too, or its `sys.exit` in a task.

        Everything else that comes out of it means that it is broken; then this thread ends, and
        the worker with it.
        """
        self._beat()
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt, Interrupted) as error:
            # By its class: what it says of itself may never end.
            name = type(error).__name__
            logger.warning("a processor raised %s in the event loop, which goes on", name)

    def _beat(self) -> None:
        if self._next_beat is not None:
            self._next_beat.cancel()
        self._give_time_back(time.monotonic())
        self._next_beat = self._loop.call_later(BEAT, self._beat)

    def _give_time_back(self, now: float) -> None:
        """The others on the loop stood still while one kept it from turning."""
        blocker, self._blocker = self._blocker, None
        lost = now - self._turned_at
        if blocker is not None:
            for execution in self._runs.copy():
                if execution is not blocker:
                    execution.started = min(execution.started + lost, now)
        # Last: from here on their time counts.
        self._turned_at = now

    def _launch(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        # In a context of this callback's own.
        _RUN.set(execution)
        task = self._loop.create_task(self._run(execution, entry))
        self._tasks[execution] = task
        task.add_done_callback(partial(self._done, held, execution, entry))

    async def _run(self, execution: Execution, entry: Processor) -> AttemptResult:
        result = await run_async(execution, entry)
        # Before the loop turns: a copy would take what wakes the original.
        end_if_forked(self._owner)
        return result

    def _done(
        self,
        held: HeldLease,
        execution: Execution,
        entry: Processor,
        task: "asyncio.Task[AttemptResult]",
    ) -> None:
        """Called however the task ended, one that was cancelled before its first line included."""
        self._tasks.pop(execution, None)
        self._runs.pop(execution, None)
        self._unheard.discard(execution)
        try:
            result = task.result()
        except BaseException as error:
            result = result_of_error(execution, error, entry, clock.now())
        self._ended(held, result)

    def _heard(self, execution: Execution) -> None:
        self._unheard.discard(execution)

    def _cancel(self, execution: Execution) -> None:
        task = self._tasks.get(execution)
        if task is not None:
            task.cancel()


MOST_UNEXPLAINED = 3
"""Loops that are blocked by no attempt that is known; with more the worker is of no use."""

LeaveBehind = Callable[[HeldLease, Execution, bool], None]
"""End an attempt that its loop keeps from going on; whether it is known what blocks the loop."""


class EventLoopExecutor:
    """Starts attempts on a loop that turns."""

    def __init__(self, ended: OnEnd, leave_behind: LeaveBehind) -> None:
        self._ended = ended
        self._leave_behind = leave_behind
        self._loop: EventLoop | None = None
        self._blocked: dict[EventLoop, Execution | None] = {}
        """The loops left behind, and what blocked each of them, if that is known."""
        self._lock = threading.Lock()

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        # Locked to the end: nothing is started on a loop that is being left.
        with self._lock:
            if self._loop is None:
                self._loop = EventLoop(self._ended)
            self._loop.start(held, execution, entry)

    def look(self) -> None:
        """Leave a loop that has not turned for nearly one lease; called again and again."""
        with self._lock:
            if self._loop is not None and self._loop.look() >= _longest_stand():
                self._leave(self._loop)
                self._loop = None
        for loop, blocker in list(self._blocked.items()):
            self._clear(loop, blocker)

    def cancel(self, execution: Execution) -> None:
        for loop in self._all():
            loop.cancel(execution)

    def interrupt(self, execution: Execution) -> None:
        for loop in self._all():
            loop.interrupt(execution)

    def break_in(self, execution: Execution) -> None:
        for loop in self._all():
            loop.break_in(execution)

    def is_held_up(self, execution: Execution) -> bool:
        return any(loop.is_held_up(execution) for loop in self._all())

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

    def _all(self) -> list[EventLoop]:
        loop = self._loop
        return [*([loop] if loop is not None else []), *list(self._blocked)]

    def _leave(self, loop: EventLoop) -> None:
        blocker = loop.current()
        who = f"task {blocker.task_id}" if blocker is not None else "nobody knows what"
        logger.error("%s blocks the event loop; what else is on it goes on elsewhere", who)
        self._blocked[loop] = blocker

    def _clear(self, loop: EventLoop, blocker: Execution | None) -> None:
        """Send the others away, end the loop when it has no more to do, forget it when it ended."""
        executions = loop.executions()
        for held, execution in executions:
            if execution is not blocker and not execution.is_recorded:
                self._leave_behind(held, execution, blocker is not None)
                loop.cancel(execution)
        if all(execution.is_returned for _, execution in executions):
            loop.end()
        if not loop.thread.is_alive():
            self._blocked.pop(loop, None)


def _longest_stand() -> float:
    """Seconds until a loop is left: what is on it is to be settled before its lease ends."""
    lease = get_settings().lease
    return max(lease - 2, lease / 2)
