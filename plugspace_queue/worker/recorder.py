"""The one thread that writes rows: whatever queued up during the last commit goes into the next.

Rows first, then Redis: what is committed here the follower hands on, and the pump settles.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from django.db import connection, transaction

from plugspace_queue.domain import clock
from plugspace_queue.domain.text import fitting
from plugspace_queue.models import Task
from plugspace_queue.processing.run import ProgressSink, Run
from plugspace_queue.worker.aside import Aside, Waiting, single, task_of
from plugspace_queue.worker.commit import Batch, Counts, Locked, Refused, added, count, write
from plugspace_queue.worker.follower import Follower
from plugspace_queue.worker.following import FollowUp, tolerate
from plugspace_queue.worker.launching import Launcher, starts_first
from plugspace_queue.worker.messages import PumpMessage, RecorderMessage
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")

BATCH = 200
"""Most messages of one commit."""

LONGEST_PAUSE = 5.0
"""Seconds between two tries while the database is away."""

LAST_PAUSE = 0.5
"""The same when the worker stops: the process ends soon."""

COUNT_AGAIN = 1.0
"""Seconds without a message after which counts are paid that were held up."""

SHORT_LOOK = "100ms"
"""How long one message alone waits for a row that somebody holds, while all others wait for it."""


def name_for_rows(worker_name: str) -> str:
    """The name as it fits into a row; long ones that differ stay different."""
    most = Task._meta.get_field("worker_name").max_length
    name = fitting(worker_name, most or len(worker_name))
    if name != worker_name:
        logger.warning("the worker's name is too long for rows, which call it %s", name)
    return name


class Recorder(threading.Thread):
    """Takes messages, commits them in groups, hands what was committed to its follower."""

    def __init__(
        self,
        worker_name: str,
        *,
        tell: Callable[[PumpMessage], None],
        dispatch: Callable[[Held, Run], None],
        sink: ProgressSink,
        timeout_of: Callable[[Task], float],
    ) -> None:
        super().__init__(name="plugspace-recorder", daemon=True)
        self.is_healthy = True
        self._inbox: queue.SimpleQueue[RecorderMessage | None] = queue.SimpleQueue()
        self._worker_name = name_for_rows(worker_name)
        self._launcher = Launcher(dispatch=dispatch, sink=sink, timeout_of=timeout_of)
        self.follower = Follower(FollowUp(tell), self._owe)
        self._stopping = threading.Event()
        self._uncounted: Counts = {}
        self._owed: queue.SimpleQueue[Counts] = queue.SimpleQueue()
        self._aside = Aside()

    def start(self) -> None:
        """Start both threads."""
        self.follower.start()
        super().start()

    def put(self, message: RecorderMessage) -> None:
        """Have this written; never blocks."""
        self._inbox.put(message)

    def stop(self) -> None:
        """End when everything put so far is written."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        try:
            self._serve()
            for waiting in self._aside.take_all():
                self._try_again(waiting)
            # One that was started by this goes back, as the worker stops.
            self._serve()
            self._leave()
        finally:
            self.follower.stop()
            self.follower.join(timeout=LONGEST_PAUSE)
            connection.close()

    def _serve(self) -> None:
        while not self._is_over():
            self._turn(self._collect())
            self._try_again(self._aside.take_due())

    def _leave(self) -> None:
        if left := self._aside.take_all():
            logger.warning("%d tasks are left to others: their rows are locked", len(left))
        self._take_owed()
        self._pay_counts(self._uncounted)

    def _is_over(self) -> bool:
        if not (self._stopping.is_set() and self._inbox.empty()):
            return False
        # What follows a commit may hand in more, as an attempt that goes back.
        self.follower.drain()
        return self._inbox.empty()

    def _turn(self, messages: list[RecorderMessage]) -> None:
        self._take_owed()
        free = self._aside.sift(messages)
        if not free:
            # Nobody ends anything that could take them along.
            tolerate(self._pay_counts, self._uncounted)
            return
        for part in starts_first(free):
            self._record_together(part)

    def _record_together(self, messages: list[RecorderMessage]) -> None:
        try:
            self._record(Batch(messages, clock.now()))
        except (Locked, Refused):
            # One that waits for a row of somebody else's long transaction, or that cannot be
            # written, holds up no other.
            self._record_apart(messages)

    def _record_apart(self, messages: list[RecorderMessage]) -> None:
        for message in single(messages):
            batch = Batch([message], clock.now(), SHORT_LOOK)
            try:
                self._record(batch)
            except Locked:
                logger.warning("the row of %s is locked for long; it waits aside", task_of(message))
                self._aside.add(message)
            except Refused:
                logger.exception("%s cannot be written; its row is judged", task_of(message))
                self.follower.put(batch)

    def _try_again(self, waiting: Waiting | None) -> None:
        if waiting is None:
            return
        try:
            self._record(Batch(waiting.messages, clock.now(), SHORT_LOOK))
        except Locked:
            self._aside.put_back(waiting)
        except Refused:
            self._record_apart(waiting.messages)

    def _collect(self) -> list[RecorderMessage]:
        messages: list[RecorderMessage | None] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=self._patience()))
            while len(messages) < BATCH:
                messages.append(self._inbox.get_nowait())
        return [message for message in messages if message is not None]

    def _patience(self) -> float | None:
        owing = COUNT_AGAIN if self._uncounted else None
        return min((s for s in (owing, self._aside.patience()) if s is not None), default=None)

    def _record(self, batch: Batch) -> None:
        pause = 0.1
        while not self._is_written(batch):
            # Leases are renewed meanwhile and nothing new is taken; nothing is lost.
            self._rest(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self._launcher.launch(batch)
        self.follower.put(batch)

    def _rest(self, pause: float) -> None:
        """A stop cuts one pause short, and not all that follow."""
        if self._stopping.is_set():
            time.sleep(min(pause, LAST_PAUSE))
        else:
            self._stopping.wait(pause)

    def _is_written(self, batch: Batch) -> bool:
        # Starts alone wait for no disk, so that they pay no counts.
        batch.owed = {} if batch.only_starts else self._uncounted
        try:
            write(batch, self._worker_name)
        except (Locked, Refused):
            raise
        except Exception:
            logger.exception("the database refused a group commit; it is tried again")
            connection.close()
            self.follower.reconnect()
            self.is_healthy = False
            return False
        if not batch.only_starts:
            self._uncounted = batch.uncounted
        self.is_healthy = True
        return True

    def _owe(self, counts: Counts) -> None:
        """Count these too (the follower's thread): with the next commit, or when there is none."""
        self._owed.put(counts)
        self._inbox.put(None)

    def _take_owed(self) -> None:
        while not self._owed.empty():
            self._uncounted = added(self._uncounted, self._owed.get())

    def _pay_counts(self, owed: Counts) -> None:
        """Count what could not be counted while somebody else held the queue's row."""
        if owed:
            with transaction.atomic():
                rest = count(owed)
            self._uncounted = rest
