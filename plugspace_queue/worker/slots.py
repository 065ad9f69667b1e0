"""Where attempts of sync processors run: in threads, one each."""

import os
import threading
from collections.abc import Callable
from typing import Protocol

from django.db import close_old_connections, connections

from plugspace_queue.domain import clock
from plugspace_queue.processing.attempt import ending_of, run_sync
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import tidying
from plugspace_queue.worker.interruption import Interrupted, absorb, raise_in
from plugspace_queue.worker.line import Line
from plugspace_queue.worker.table import Held

Ended = Callable[[Held, Ending], None]


class Slots(Protocol):
    """A place where attempts run."""

    def start(self, held: Held, run: Run, entry: Processor) -> None: ...

    def interrupt(self, run: Run) -> None: ...

    def stop(self) -> None: ...


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
        self._owner = os.getpid()

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
        tidying.end_if_forked(self._owner)
        while not self._has_left():
            pass
        if self._is_spoilt:
            tidying.drop_connections()
            self._is_spoilt = False
        self._ended(held, tidying.honest(ending))

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
                absorb()
        except Interrupted:
            return False
        return True

    def interrupt(self, run: Run) -> bool:
        """Raise Interrupted in this thread while it runs `run`; False when it does not."""
        with self._lock:
            if self._current is not run or self.ident is None:
                return False
            self._is_interrupted = self._is_spoilt = True
            raise_in(self.ident)
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
