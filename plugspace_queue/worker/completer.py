"""Writes what started and ended, in groups, and has done what follows each commit.

The loop writes nearly everything. A second thread has time: for receivers of signals, cascades,
refunds, leases that did not start, and rows that another transaction has locked.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from django.db import connection, transaction

from plugspace_queue.db.transactions import keep_alive
from plugspace_queue.domain import clock
from plugspace_queue.domain.text import fitting
from plugspace_queue.events import publish as events
from plugspace_queue.models import Task
from plugspace_queue.processing.execution import Execution, ProgressSink, StopReason
from plugspace_queue.processing.registry import timeout_of
from plugspace_queue.worker.backlog import LockedBacklog, split, task_of
from plugspace_queue.worker.commit import CommitBatch, Locked, Refused, count, write
from plugspace_queue.worker.completion import Counts, added
from plugspace_queue.worker.follow_up import LOOKS, FollowUpThread
from plugspace_queue.worker.post_commit import (
    Message,
    PostCommit,
    split_events_by_server,
    tolerated,
)
from plugspace_queue.worker.state import Guard, HeldLease, LoopMessage, RowMessage

logger = logging.getLogger("plugspace_queue.worker")

LONGEST_PAUSE = 5.0
"""Seconds between two tries while the database is away."""

LAST_PAUSE = 0.5
"""The same when the worker stops: the process ends soon."""

Dispatch = Callable[[HeldLease, Execution], None]


def name_for_rows(worker_name: str) -> str:
    """The name as it fits into a row; long ones that differ stay different."""
    most = Task._meta.get_field("worker_name").max_length
    name = fitting(worker_name, most or len(worker_name))
    if name != worker_name:
        logger.warning("the worker's name is too long for rows, which call it %s", name)
    return name


def launch(batch: CommitBatch, dispatch: Dispatch, sink: ProgressSink) -> None:
    """Hand each attempt that the batch has started to a slot; never raises."""
    if not batch.started:
        return
    # By token, not by id alone: a batch may hold two leases of one task.
    by_token = {(row.task_id, row.fence): row for row in batch.started}
    for held in batch.guarded:
        row = by_token.get((held.task_id, held.lease.fence))
        if row is None:
            continue
        try:
            results = batch.results.get(row.task_id)
            timeout = timeout_of(row.type)
            held.execution = Execution(row, timeout=timeout, sink=sink, results=results)
            if held.is_stop_asked:
                held.execution.ask_to_stop(StopReason.CANCEL)
            dispatch(held, held.execution)
        except Exception:
            logger.exception("%s could not be started; it goes back", held.task_id)
            # Its row is asked by what follows: nothing has run.
            held.execution = None


class Completer:
    """Writes messages into rows; `write` is for the loop's thread only."""

    def __init__(
        self,
        worker_name: str,
        *,
        dispatch: Dispatch,
        sink: ProgressSink,
        tell: Callable[[Sequence[Message]], None],
        inbox: "queue.SimpleQueue[LoopMessage]",
    ) -> None:
        self.is_healthy = True
        self.is_in_database = False
        """Whether the loop waits for the database right now."""
        self.backlog = LockedBacklog()
        self.follow_up = FollowUpThread(self, inbox)
        self.post_commit = PostCommit()
        self._worker_name = name_for_rows(worker_name)
        self._dispatch = dispatch
        self._sink = sink
        self._tell = tell
        self._stopping = threading.Event()
        self._unannounced: list[CommitBatch] = []
        self._uncounted: Counts = {}
        self._owed: queue.SimpleQueue[Counts] = queue.SimpleQueue()
        self._known_connection: object = None

    def write(self, messages: Sequence[RowMessage]) -> None:
        """Commit these together, tell Redis of them, and have done what follows."""
        free = self.backlog.keep_back(messages)
        if not free:
            return
        self.is_in_database = True
        try:
            self.record(CommitBatch(free, clock.now()), self._tell)
        except (Locked, Refused):
            # One that waits for another's long transaction, or that cannot be
            # written, holds up no other.
            self.record_apart(free, self._tell)
        finally:
            self.is_in_database = False

    @property
    def has_news(self) -> bool:
        """Whether there are starts that Redis has not heard of."""
        return bool(self._unannounced)

    def announce(self) -> None:
        """Tell Redis of the starts of the commits since the last time."""
        batches, self._unannounced = self._unannounced, []
        for batch in batches:
            messages, elsewhere = split_events_by_server(self.post_commit.starts(batch))
            self._tell(messages)
            if elsewhere:
                events.append(elsewhere)

    def stop(self) -> None:
        """Wait no longer than a moment for a database that is away (any thread)."""
        self._stopping.set()

    @property
    def owes(self) -> bool:
        """Whether counts are to be paid."""
        return bool(self._uncounted) or not self._owed.empty()

    def pay(self) -> None:
        """Count what could not be counted while the queue's row was locked."""
        while not self._owed.empty():
            self._uncounted = added(self._uncounted, self._owed.get())
        if not self._uncounted:
            return
        self.is_in_database = True
        with tolerated("pay"):
            with transaction.atomic():
                rest = count(self._uncounted)
            self._uncounted = rest
        self.is_in_database = False

    def owe(self, counts: Counts) -> None:
        """Count these too (any thread): with the next commit, or when there is none."""
        if counts:
            self._owed.put(counts)

    # In either thread.

    def record(self, batch: CommitBatch, tell: Callable[[Sequence[Message]], None]) -> None:
        """Write a batch, however long the database is away. Raises Locked, Refused."""
        pause = 0.1
        while not self._is_written(batch):
            # Leases are renewed meanwhile and nothing new is taken; nothing is lost.
            self._rest(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        launch(batch, self._dispatch, self._sink)
        self._follow(batch, tell)

    def record_apart(
        self, messages: Sequence[RowMessage], tell: Callable[[Sequence[Message]], None]
    ) -> None:
        """Write them one by one; those that are locked wait in the backlog."""
        look = LOOKS[0]
        for message in split(messages):
            batch = CommitBatch([message], clock.now(), look)
            try:
                self.record(batch, tell)
            except Locked:
                look = LOOKS[-1]
                logger.warning(
                    "the row of %s is locked for long; it is tried again", task_of(message)
                )
                self.backlog.add(message)
                self.follow_up.wake()
            except Refused:
                logger.exception("%s cannot be written; its row is asked", task_of(message))
                self._follow(batch, tell)

    def _follow(self, batch: CommitBatch, tell: Callable[[Sequence[Message]], None]) -> None:
        messages = self.post_commit.messages(batch)
        if tell is self._tell:
            if batch.guarded:
                self._unannounced.append(batch)
        else:
            messages = [*self.post_commit.starts(batch), *messages]
        messages, elsewhere = split_events_by_server(messages)
        tell(messages)
        if elsewhere or self.post_commit.needs_more(batch):
            batch.elsewhere = elsewhere
            self.follow_up.put(batch)

    def _is_written(self, batch: CommitBatch) -> bool:
        is_in_loop = threading.current_thread() is not self.follow_up
        # Starts alone wait for no disk, so that they pay no counts.
        batch.owed = self._uncounted if is_in_loop and not batch.only_starts else {}
        try:
            if is_in_loop:
                self._keep_connection_alive()
            write(batch, self._worker_name)
        except (Locked, Refused):
            raise
        except Exception:
            logger.exception("the database refused a group commit; it is tried again")
            connection.close()
            self.follow_up.reconnect()
            self.is_healthy = False
            return False
        if not is_in_loop:
            self.owe(batch.uncounted)
        elif not batch.only_starts:
            self._uncounted = batch.uncounted
        self.is_healthy = True
        return True

    def _rest(self, pause: float) -> None:
        """A stop cuts one pause short, and not all that follow."""
        if self._stopping.is_set():
            time.sleep(min(pause, LAST_PAUSE))
        else:
            self._stopping.wait(pause)

    def _keep_connection_alive(self) -> None:
        if connection.connection is None or connection.connection is not self._known_connection:
            connection.ensure_connection()
            keep_alive(connection)
            self._known_connection = connection.connection


def guard_first(granted: Sequence[HeldLease], others: Sequence[RowMessage]) -> bool:
    """Whether leases may start before the others are written: none of their tasks ends there."""
    starting = {held.task_id for held in granted}
    return all(isinstance(one, Guard) or task_of(one) not in starting for one in split(others))
