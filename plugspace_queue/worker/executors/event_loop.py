"""Runs attempts of async processors on an event loop, in a thread of its own.

When one attempt blocks the loop, the loop is abandoned: the other attempts are handed back within
their leases and run again, on a new loop of this worker or in another worker. The attempt that
blocks stays on the old loop until it ends or times out.
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
"""Seconds between two beats of the loop."""

BLOCKED_AFTER = 0.5
"""Seconds without a beat after which the loop counts as blocked."""

LONGEST_CHECK = 1.0
"""Most seconds that one check adds to the time a loop counts as blocked: if the whole process was
suspended or got no CPU, that is not the loop's fault."""

T = TypeVar("T")
Awaited = Coroutine[Any, Any, T] | Generator[Any, None, T]

_RUN: ContextVar[Execution] = ContextVar("plugspace_run")
"""The attempt in whose context a coroutine runs; asyncio tasks that it creates inherit it."""


class EventLoop:
    """One event loop; a processor that stops or breaks it does not end the other attempts."""

    def __init__(self, ended: OnEnd) -> None:
        self._ended = ended
        self._owner = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._make_task)
        self._tasks: dict[Execution, asyncio.Task[AttemptResult]] = {}
        self._owners: weakref.WeakKeyDictionary[asyncio.Future[Any], Execution]
        self._owners = weakref.WeakKeyDictionary()
        self._runs: dict[Execution, HeldLease] = {}
        self._undelivered: set[Execution] = set()
        self._is_stopping = False
        self._turned_at = self._checked_at = self._seen_turn = time.monotonic()
        self._blocked_for = 0.0
        self._blocker: Execution | None = None
        self._next_beat: asyncio.TimerHandle | None = None
        self.thread = threading.Thread(target=self._serve, name="plugspace-loop", daemon=True)
        self.thread.start()

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        self._runs[execution] = held
        self._loop.call_soon_threadsafe(self._launch, held, execution, entry)

    def cancel(self, execution: Execution) -> None:
        """Cancel a coroutine; if it does not end, it is interrupted later."""
        if execution in self._runs:
            self._soon(self._cancel, execution)

    def interrupt(self, execution: Execution) -> None:
        if execution not in self._runs:
            return
        self._undelivered.add(execution)
        self._soon(self._delivered, execution)
        self._soon(self._cancel, execution)

    def is_held_up(self, execution: Execution) -> bool:
        """Whether another attempt blocks the loop, so that this one cannot run.

        Called at each beat. The blocking attempt is recorded, so that the lost time is not counted
        against the others' timeouts.
        """
        if execution not in self._runs or time.monotonic() - self._turned_at < BLOCKED_AFTER:
            return False
        self._blocker = self.current()
        return self._blocker not in (None, execution)

    def current(self) -> Execution | None:
        """The attempt whose code runs now: its own coroutine, or an asyncio task it created."""
        task = asyncio.current_task(self._loop)
        return self._owners.get(task) if task is not None else None

    def check(self) -> float:
        """Seconds for which the loop has been blocked, as measured by calls of this method."""
        now, turned_at = time.monotonic(), self._turned_at
        if turned_at != self._seen_turn:
            self._seen_turn, self._blocked_for = turned_at, 0.0
        else:
            self._blocked_for += min(now - self._checked_at, LONGEST_CHECK)
        self._checked_at = now
        return self._blocked_for

    def executions(self) -> list[tuple[HeldLease, Execution]]:
        """The attempts whose calls have not returned."""
        return [(held, execution) for execution, held in self._runs.copy().items()]

    def break_in(self, execution: Execution) -> None:
        """Interrupt code that blocks the loop, so that its cancellation cannot be delivered.

        Only if this attempt is running now, as the exception hits whatever runs in the thread.
        """
        if (
            execution in self._undelivered
            and self.current() is execution
            and self.thread.ident is not None
        ):
            raise_in(self.thread.ident)

    def end(self) -> None:
        """Stop the loop, and cancel whatever is still on it, as soon as it runs callbacks again."""
        self._is_stopping = True
        self._soon(self._loop.stop)

    def stop(self) -> None:
        """Stop the loop; attempts still on it were handed back before."""
        self.end()
        self.thread.join(timeout=1.0)

    def _soon(self, function: Callable[..., object], *arguments: Execution) -> None:
        # The loop may be closed already; then there is nothing left to cancel.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Awaited[T], /, **options: Any
    ) -> asyncio.Task[T]:
        """Create an asyncio task and record which attempt it belongs to."""
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
        """Run the loop until it is stopped, by `end`, by a processor, or by `sys.exit` in a task.

        Any other exception means that the loop is broken; it ends this thread and so the worker.
        """
        self._beat()
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt, Interrupted) as error:
            # Only the class name is logged: `str(error)` may run code that never returns.
            name = type(error).__name__
            logger.warning("a processor raised %s in the event loop, which goes on", name)

    def _beat(self) -> None:
        if self._next_beat is not None:
            self._next_beat.cancel()
        self._give_time_back(time.monotonic())
        self._next_beat = self._loop.call_later(BEAT, self._beat)

    def _give_time_back(self, now: float) -> None:
        """Extend the timeouts of the other attempts by the time that one blocked the loop."""
        blocker, self._blocker = self._blocker, None
        lost = now - self._turned_at
        if blocker is not None:
            for execution in self._runs.copy():
                if execution is not blocker:
                    execution.started = min(execution.started + lost, now)
        # Set last: from now on `is_held_up` is False and their time counts again.
        self._turned_at = now

    def _launch(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        # The callback has a context of its own, so this does not leak to other attempts.
        _RUN.set(execution)
        task = self._loop.create_task(self._run(execution, entry))
        self._tasks[execution] = task
        task.add_done_callback(partial(self._done, held, execution, entry))

    async def _run(self, execution: Execution, entry: Processor) -> AttemptResult:
        result = await run_async(execution, entry)
        # Before the loop runs again: a forked copy would consume the original's wake-up events.
        end_if_forked(self._owner)
        return result

    def _done(
        self,
        held: HeldLease,
        execution: Execution,
        entry: Processor,
        task: "asyncio.Task[AttemptResult]",
    ) -> None:
        """Called however the task ended, even if it was cancelled before its first line."""
        self._tasks.pop(execution, None)
        self._runs.pop(execution, None)
        self._undelivered.discard(execution)
        try:
            result = task.result()
        except BaseException as error:
            result = result_of_error(execution, error, entry, clock.now())
        self._ended(held, result)

    def _delivered(self, execution: Execution) -> None:
        self._undelivered.discard(execution)

    def _cancel(self, execution: Execution) -> None:
        task = self._tasks.get(execution)
        if task is not None:
            task.cancel()


MOST_UNEXPLAINED = 3
"""Loops blocked by an unknown cause at which the worker counts as unusable."""

LeaveBehind = Callable[[HeldLease, Execution, bool], None]
"""Ends an attempt whose loop is blocked; the last argument: whether it is known by which one."""


class EventLoopExecutor:
    """Starts attempts on an event loop, and replaces the loop when it is blocked."""

    def __init__(self, ended: OnEnd, leave_behind: LeaveBehind) -> None:
        self._ended = ended
        self._leave_behind = leave_behind
        self._loop: EventLoop | None = None
        self._blocked: dict[EventLoop, Execution | None] = {}
        """The abandoned loops and the attempt that blocks each of them; None if unknown."""
        self._lock = threading.Lock()

    def start(self, held: HeldLease, execution: Execution, entry: Processor) -> None:
        # Holds the lock while starting, so that nothing starts on a loop being abandoned.
        with self._lock:
            if self._loop is None:
                self._loop = EventLoop(self._ended)
            self._loop.start(held, execution, entry)

    def check(self) -> None:
        """Abandon a loop that was blocked for nearly one lease; called at each beat."""
        with self._lock:
            if self._loop is not None and self._loop.check() >= _longest_block():
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
            # Not joined, as it may stay blocked for long.
            loop.end()
        if self._loop is not None:
            self._loop.stop()

    def vital(self) -> list[threading.Thread]:
        """The threads that must not end before the worker."""
        loop = self._loop
        return [loop.thread] if loop is not None else []

    def are_useless(self) -> bool:
        """Whether so many loops are blocked by an unknown cause that a new one would be too."""
        return list(self._blocked.values()).count(None) >= MOST_UNEXPLAINED

    def _all(self) -> list[EventLoop]:
        loop = self._loop
        return [*([loop] if loop is not None else []), *list(self._blocked)]

    def _leave(self, loop: EventLoop) -> None:
        blocker = loop.current()
        who = f"task {blocker.task_id}" if blocker is not None else "an unknown attempt"
        logger.error("%s blocks the event loop; what else is on it goes on elsewhere", who)
        self._blocked[loop] = blocker

    def _clear(self, loop: EventLoop, blocker: Execution | None) -> None:
        """Hand the other attempts back; stop an idle loop; remove it once its thread has ended."""
        executions = loop.executions()
        for held, execution in executions:
            if execution is not blocker and not execution.is_recorded:
                self._leave_behind(held, execution, blocker is not None)
                loop.cancel(execution)
        if all(execution.is_returned for _, execution in executions):
            loop.end()
        if not loop.thread.is_alive():
            self._blocked.pop(loop, None)


def _longest_block() -> float:
    """Seconds until a blocked loop is abandoned: its attempts must settle within their leases."""
    lease = get_settings().lease
    return max(lease - 2, lease / 2)
