"""Writes starts and endings in group commits, and triggers the steps that follow each commit.

The loop's thread writes nearly everything. The follow-up thread does what may take long: receivers
of signals, cascades, refunds, leases that did not start, rows that another transaction has locked.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from django.db import connection, transaction

from plugspace_queue.broker.task_store import Note
from plugspace_queue.db.transactions import keep_alive
from plugspace_queue.domain import clock
from plugspace_queue.domain.text import fitting
from plugspace_queue.models import Task
from plugspace_queue.processing.execution import Execution, ProgressSink, StopReason
from plugspace_queue.processing.registry import timeout_of
from plugspace_queue.worker.backlog import LockedBacklog, split, task_of
from plugspace_queue.worker.commit import CommitBatch, Locked, Refused, count, write
from plugspace_queue.worker.completion import Counts, added
from plugspace_queue.worker.event_routing import Message, split_events_by_server, starts_elsewhere
from plugspace_queue.worker.follow_up import LOCK_TIMEOUTS, FollowUpThread
from plugspace_queue.worker.post_commit import (
    PostCommit,
    tolerated,
)
from plugspace_queue.worker.state import Guard, HeldLease, LoopMessage, RowMessage

logger = logging.getLogger("plugspace_queue.worker")

LONGEST_PAUSE = 5.0
"""Longest pause in seconds between two tries while the database is unavailable."""

LAST_PAUSE = 0.5
"""The same while the worker stops, as its process ends soon."""

Dispatch = Callable[[HeldLease, Execution], None]


def name_for_rows(worker_name: str) -> str:
    """The name shortened to fit the column; different long names stay different."""
    most = Task._meta.get_field("worker_name").max_length
    name = fitting(worker_name, most or len(worker_name))
    if name != worker_name:
        logger.warning("the worker's name is too long for rows, which call it %s", name)
    return name


def launch(batch: CommitBatch, dispatch: Dispatch, sink: ProgressSink) -> None:
    """Hand each attempt that the batch has started to a slot; never raises."""
    if not batch.started:
        return
    # By id and fence: a batch may hold two leases of one task.
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
            # Without an execution the follow-up resolves the lease by its row; nothing has run.
            held.execution = None


class Completer:
    """Writes messages into rows; `write` is for the loop's thread only."""

    def __init__(
        self,
        worker_name: str,
        *,
        dispatch: Dispatch,
        sink: ProgressSink,
        send: Callable[[Sequence[Message]], None],
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
        self._send = send
        self._stopping = threading.Event()
        self._unannounced: list[CommitBatch] = []
        self._uncounted: Counts = {}
        self._owed: queue.SimpleQueue[Counts] = queue.SimpleQueue()
        self._known_connection: object = None

    def write(self, messages: Sequence[RowMessage]) -> None:
        """Commit these together, queue the messages to Redis, and start the follow-up."""
        free = self.backlog.keep_back(messages)
        if not free:
            return
        self.is_in_database = True
        try:
            self.record(CommitBatch(free, clock.now()), self._send)
        except (Locked, Refused):
            # One by one, so that a locked or rejected row does not block the others.
            self.record_apart(free, self._send)
        finally:
            self.is_in_database = False

    @property
    def has_news(self) -> bool:
        """Whether there are starts that were not announced to Redis yet."""
        return bool(self._unannounced)

    def announce(self) -> None:
        """Queue the announcements of all starts committed since the last call."""
        batches, self._unannounced = self._unannounced, []
        for batch in batches:
            # Events for another server are sent by the follow-up thread.
            messages, _ = split_events_by_server(self.post_commit.starts(batch))
            self._send(messages)

    def stop(self) -> None:
        """Use short pauses from now on while the database is unavailable (any thread)."""
        self._stopping.set()

    @property
    def owes(self) -> bool:
        """Whether counts still have to be written."""
        return bool(self._uncounted) or not self._owed.empty()

    def pay(self) -> None:
        """Write the counts that could not be written while the queue's row was locked."""
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
        """Add to the pending counts (any thread); the next commit or an idle turn writes them."""
        if counts:
            self._owed.put(counts)

    # Called by the loop's thread and by the follow-up thread.

    def record(self, batch: CommitBatch, send: Callable[[Sequence[Message]], None]) -> None:
        """Write a batch, retrying while the database is unavailable. Raises Locked, Refused."""
        pause = 0.1
        while not self._is_written(batch):
            # Meanwhile the other threads renew the leases and no new tasks are acquired.
            self._rest(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        launch(batch, self._dispatch, self._sink)
        self._follow(batch, send)

    def record_apart(
        self, messages: Sequence[RowMessage], send: Callable[[Sequence[Message]], None]
    ) -> None:
        """Write messages one by one; those whose row is locked go to the backlog."""
        lock_timeout = LOCK_TIMEOUTS[0]
        for message in split(messages):
            batch = CommitBatch([message], clock.now(), lock_timeout)
            try:
                self.record(batch, send)
            except Locked:
                lock_timeout = LOCK_TIMEOUTS[-1]
                logger.warning(
                    "the row of %s is locked for long; it is tried again", task_of(message)
                )
                self.backlog.add(message)
                self.follow_up.wake()
            except Refused:
                logger.exception("%s cannot be written; its row is asked", task_of(message))
                self._follow(batch, send)

    def _follow(self, batch: CommitBatch, send: Callable[[Sequence[Message]], None]) -> None:
        messages, starts = self.post_commit.messages(batch), list[Note]()
        if send is self._send:
            if batch.guarded:
                with tolerated("starts_elsewhere"):
                    starts = starts_elsewhere(batch)
                self._unannounced.append(batch)
        else:
            messages = [*self.post_commit.starts(batch), *messages]
        messages, elsewhere = split_events_by_server(messages)
        send(messages)
        elsewhere = starts + elsewhere
        if elsewhere or self.post_commit.needs_more(batch):
            batch.elsewhere = elsewhere
            self.follow_up.put(batch)

    def _is_written(self, batch: CommitBatch) -> bool:
        is_in_loop = threading.current_thread() is not self.follow_up
        # A commit of starts alone does not wait for the disk, so it must not carry counts.
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
        """Pause; a stop ends the current pause, and shortens but does not skip later ones."""
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
    """Whether the leases may start before `others` are written: no task is in both."""
    starting = {held.task_id for held in granted}
    return all(isinstance(one, Guard) or task_of(one) not in starting for one in split(others))
