"""An event loop with the attempts of async processors on it, in a thread of its own."""

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

from plugspace_queue.domain import clock
from plugspace_queue.processing.attempt import ending_of, run_async
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import tidying
from plugspace_queue.worker.interruption import Interrupted, raise_in
from plugspace_queue.worker.slots import Ended
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")

BEAT = 0.2
"""Seconds between two signs that the loop turns."""

PATIENCE = 0.5
"""Seconds without one after which somebody keeps it from turning."""

LONGEST_LOOK = 1.0
"""Seconds between two looks at the loop that count at most: a process that was stopped, or had no
turn on its machine, does not blame its loop."""

T = TypeVar("T")
Awaited = Coroutine[Any, Any, T] | Generator[Any, None, T]

_RUN: ContextVar[Run] = ContextVar("plugspace_run")
"""The attempt in whose context a coroutine runs; the tasks that it makes inherit it."""


class LoopSlots:
    """One event loop; what one processor does to it ends nobody else's attempt."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._owner = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._make_task)
        self._tasks: dict[Run, asyncio.Task[Ending]] = {}
        self._owners: weakref.WeakKeyDictionary[asyncio.Future[Any], Run]
        self._owners = weakref.WeakKeyDictionary()
        self._runs: dict[Run, Held] = {}
        self._unheard: set[Run] = set()
        self._is_stopping = False
        self._turned_at = self._looked_at = self._seen_turn = time.monotonic()
        self._stood = 0.0
        self._blocker: Run | None = None
        self._next_beat: asyncio.TimerHandle | None = None
        self.thread = threading.Thread(target=self._serve, name="plugspace-loop", daemon=True)
        self.thread.start()

    def start(self, held: Held, run: Run, entry: Processor) -> None:
        self._runs[run] = held
        self._loop.call_soon_threadsafe(self._launch, held, run, entry)

    def cancel(self, run: Run) -> None:
        """Ask a coroutine to end; it may take its time until it is interrupted."""
        if run in self._runs:
            self._soon(self._cancel, run)

    def interrupt(self, run: Run) -> None:
        if run not in self._runs:
            return
        self._unheard.add(run)
        self._soon(self._heard, run)
        self._soon(self._cancel, run)

    def is_held_up(self, run: Run) -> bool:
        """Whether it cannot go on because another attempt keeps the loop from turning.

        Asked again and again; whoever keeps it is noted, for what that took is no time of others.
        """
        if run not in self._runs or time.monotonic() - self._turned_at < PATIENCE:
            return False
        self._blocker = self.current()
        return self._blocker not in (None, run)

    def current(self) -> Run | None:
        """The attempt whose code runs right now: its own coroutine, or a task that it made."""
        task = asyncio.current_task(self._loop)
        return self._owners.get(task) if task is not None else None

    def look(self) -> float:
        """For how long the loop has not turned, as far as somebody looked now and then."""
        now, turned_at = time.monotonic(), self._turned_at
        if turned_at != self._seen_turn:
            self._seen_turn, self._stood = turned_at, 0.0
        else:
            self._stood += min(now - self._looked_at, LONGEST_LOOK)
        self._looked_at = now
        return self._stood

    def runs(self) -> list[tuple[Held, Run]]:
        """The attempts whose calls have not come back."""
        return [(held, run) for run, held in self._runs.copy().items()]

    def break_in(self, run: Run) -> None:
        """Interrupt code that keeps the loop from turning: a cancel it does not hear.

        Only when it surely does, for whatever runs in the loop's thread is hit.
        """
        if run in self._unheard and self.current() is run and self.thread.ident is not None:
            raise_in(self.thread.ident)

    def end(self) -> None:
        """End the loop as soon as it turns, and with it whatever is still on it."""
        self._is_stopping = True
        self._soon(self._loop.stop)

    def stop(self) -> None:
        """End the loop; attempts still on it were handed back before."""
        self.end()
        self.thread.join(timeout=1.0)

    def _soon(self, function: Callable[..., object], *arguments: Run) -> None:
        # It may have ended by itself: then nothing is left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Awaited[T], /, **options: Any
    ) -> asyncio.Task[T]:
        """A task that is known to be of the attempt that made it."""
        task = asyncio.Task(coroutine, loop=loop, **options)
        if run := _RUN.get(None):
            self._owners[task] = run
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
        """Run the loop until somebody stops it: also a processor may, or its `sys.exit` in a task.

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
            for run in self._runs.copy():
                if run is not blocker:
                    run.started = min(run.started + lost, now)
        # Last: from here on their time counts.
        self._turned_at = now

    def _launch(self, held: Held, run: Run, entry: Processor) -> None:
        # In a context of this callback's own.
        _RUN.set(run)
        task = self._loop.create_task(self._run(run, entry))
        self._tasks[run] = task
        task.add_done_callback(partial(self._done, held, run, entry))

    async def _run(self, run: Run, entry: Processor) -> Ending:
        ending = await run_async(run, entry)
        # Before the loop turns: a copy would take what wakes the original.
        tidying.end_if_forked(self._owner)
        return ending

    def _done(self, held: Held, run: Run, entry: Processor, task: "asyncio.Task[Ending]") -> None:
        """Called however the task ended, one that was cancelled before its first line included."""
        self._tasks.pop(run, None)
        self._runs.pop(run, None)
        self._unheard.discard(run)
        try:
            ending = task.result()
        except BaseException as error:
            ending = ending_of(run, error, entry, clock.now())
        self._ended(held, ending)

    def _heard(self, run: Run) -> None:
        self._unheard.discard(run)

    def _cancel(self, run: Run) -> None:
        task = self._tasks.get(run)
        if task is not None:
            task.cancel()
