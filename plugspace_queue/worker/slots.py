"""Where attempts run: threads for sync processors, one event loop for async ones."""

import asyncio
import contextlib
import ctypes
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from django.db import close_old_connections, connections

from plugspace_queue import clock
from plugspace_queue.processing.attempt import ending_of, run_async, run_sync
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run
from plugspace_queue.worker.line import Line
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")

Ended = Callable[[Held, Ending], None]


class Interrupted(BaseException):
    """Raised inside a processor that was told to stop and did not; not to be caught."""


class Slots(Protocol):
    """A place where attempts run."""

    def start(self, held: Held, run: Run, entry: Processor) -> None: ...

    def interrupt(self, run: Run) -> None: ...


class Slot(threading.Thread):
    """One thread; takes attempts from a shared line until that is closed."""

    def __init__(self, line: "Line[Job]", ended: Ended) -> None:
        super().__init__(name="plugspace-slot", daemon=True)
        self._line = line
        self._ended = ended
        self._lock = threading.Lock()
        self._current: Run | None = None
        self._is_interrupted = False
        self._is_spoilt = False

    def run(self) -> None:
        try:
            self._serve()
        finally:
            connections.close_all()

    def _serve(self) -> None:
        for job in self._line.jobs():
            self._work(*job)

    def _work(self, held: Held, run: Run, entry: Processor) -> None:
        try:
            ending = self._run(run, entry)
        except BaseException as error:
            # An interruption that fell between the lines: the slot must come back all the same.
            ending = ending_of(run, error, entry, clock.now())
        while not self._has_left():
            pass
        if self._is_spoilt:
            _drop_connections()
            self._is_spoilt = False
        self._ended(held, ending)

    def _run(self, run: Run, entry: Processor) -> Ending:
        close_old_connections()
        with self._lock:
            self._current = run
        return run_sync(run, entry)

    def _has_left(self) -> bool:
        """From True on no interruption reaches this thread; one on its way is taken."""
        try:
            with self._lock:
                self._current = None
                interrupted, self._is_interrupted = self._is_interrupted, False
            if interrupted:
                _absorb()
        except Interrupted:
            return False
        return True

    def interrupt(self, run: Run) -> bool:
        """Raise Interrupted in this thread while it runs `run`; False when it does not."""
        with self._lock:
            if self._current is not run or self.ident is None:
                return False
            self._is_interrupted = self._is_spoilt = True
            _raise_in(self.ident)
            return True


Job = tuple[Held, Run, Processor]


class ThreadSlots:
    """Threads made as they are needed, never more than attempts at once."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._line: Line[Job] = Line()
        self._slots: list[Slot] = []
        self._busy = 0
        self._lock = threading.Lock()

    def start(self, held: Held, run: Run, entry: Processor) -> None:
        with self._lock:
            self._busy += 1
            if self._busy > len(self._slots):
                self._add_slot()
        self._line.put((held, run, entry))

    def interrupt(self, run: Run) -> None:
        for slot in list(self._slots):
            if slot.interrupt(run):
                return

    def stop(self) -> None:
        """End the idle threads; one whose call does not return ends with the process."""
        self._line.close(len(self._slots))

    def _add_slot(self) -> None:
        slot = Slot(self._line, self._one_ended)
        self._slots.append(slot)
        slot.start()

    def _one_ended(self, held: Held, ending: Ending) -> None:
        with self._lock:
            self._busy -= 1
        self._ended(held, ending)


class LoopSlots:
    """One event loop in a thread of its own."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[Run, asyncio.Task[Ending]] = {}
        self._thread = threading.Thread(target=self._serve, name="plugspace-loop", daemon=True)
        self._thread.start()

    def start(self, held: Held, run: Run, entry: Processor) -> None:
        self._loop.call_soon_threadsafe(self._launch, held, run, entry)

    def interrupt(self, run: Run) -> None:
        self._loop.call_soon_threadsafe(self._cancel, run)

    def stop(self) -> None:
        """End the loop; attempts still on it were handed back before."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=1.0)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _launch(self, held: Held, run: Run, entry: Processor) -> None:
        task = self._loop.create_task(run_async(run, entry))
        self._tasks[run] = task
        task.add_done_callback(partial(self._done, held, run, entry))

    def _done(self, held: Held, run: Run, entry: Processor, task: "asyncio.Task[Ending]") -> None:
        """Called however the task ended, one that was cancelled before its first line included."""
        self._tasks.pop(run, None)
        try:
            ending = task.result()
        except BaseException as error:
            ending = ending_of(run, error, entry, clock.now())
        self._ended(held, ending)

    def _cancel(self, run: Run) -> None:
        task = self._tasks.get(run)
        if task is not None:
            task.cancel()


def _raise_in(thread_id: int) -> None:
    """Have the interpreter raise Interrupted in that thread at its next step."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(Interrupted)
    )


def _drop_connections() -> None:
    """Let this thread's connections go, with what an interruption left half done on them.

    A query may still be under way, and a transaction block may never have been left: closing
    alone would not open a new one then.
    """
    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
        except Exception:
            logger.warning("could not close %s after an interruption", connection.alias)
        del connections[connection.alias]


def _absorb() -> None:
    """Take an interruption that may still be on its way, so that it does not hit the next run.

    Setting it once more replaces a pending one. Taking it back with NULL would leave CPython
    3.11's eval breaker on for good, which slows every thread (and hangs one that is profiled).
    """
    with contextlib.suppress(Interrupted):
        _raise_in(threading.get_ident())
        while True:
            pass
