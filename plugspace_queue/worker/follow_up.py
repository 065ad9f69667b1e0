"""The thread for slow steps after a commit: signal receivers, cascades, refunds, locked rows."""

import logging
import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import close_old_connections, connection

from plugspace_queue.domain import clock
from plugspace_queue.events import publish as events
from plugspace_queue.services import failure_counts
from plugspace_queue.worker.backlog import DeferredTask
from plugspace_queue.worker.commit import CommitBatch, Locked, Refused
from plugspace_queue.worker.event_routing import Message, split_events_by_server
from plugspace_queue.worker.post_commit import tolerated
from plugspace_queue.worker.state import Guard, LoopMessage, SendToRedis

if TYPE_CHECKING:
    from plugspace_queue.worker.completer import Completer

logger = logging.getLogger("plugspace_queue.worker")

LOCK_TIMEOUTS = ("100ms", "20ms")
"""Lock timeouts when messages are written one by one, as each wait delays all other messages: until
the first locked row, and after it."""


class FollowUpThread(threading.Thread):
    """Runs the slow steps after commits, in the order of the commits, and retries locked rows."""

    def __init__(self, completer: "Completer", inbox: "queue.SimpleQueue[LoopMessage]") -> None:
        super().__init__(name="plugspace-follow-up", daemon=True)
        self.done = 0
        """Batches that were followed up."""
        self._completer = completer
        self._loop_inbox = inbox
        self._inbox: queue.SimpleQueue[CommitBatch | None] = queue.SimpleQueue()
        self._put = 0
        self._count_lock = threading.Lock()
        self._is_cut_off = False
        self._stopping = False

    def put(self, batch: CommitBatch) -> None:
        """Queue a batch for the follow-up (any thread)."""
        with self._count_lock:
            self._put += 1
        self._inbox.put(batch)

    def wake(self) -> None:
        """Make the thread check the backlog."""
        self._inbox.put(None)

    def try_all_now(self) -> None:
        """Try everything in the backlog once more (any thread)."""
        self._completer.backlog.make_all_due()
        for _ in self._completer.backlog.all():
            self.wake()

    def reconnect(self) -> None:
        """Drop this thread's connection before its next use, as the database was unavailable."""
        self._is_cut_off = True

    def stop(self) -> None:
        """Follow up everything put so far, try once more to write locked endings, then end."""
        self._stopping = True
        self._inbox.put(None)

    @property
    def is_idle(self) -> bool:
        """Whether everything put so far is followed up."""
        return self.done == self._put

    def run(self) -> None:
        try:
            while not self._stopping:
                self._serve(self._completer.backlog.wait_seconds())
            for task in self._completer.backlog.all():
                # Starts are left out: the loop has ended and could not record the attempt's end.
                if not any(isinstance(message, Guard) for message in task.messages):
                    self._try_again(task)
            while not self._inbox.empty():
                self._serve(0.0)
            with tolerated("count_failures"):
                failure_counts.flush()
            if left := self._completer.backlog.all():
                logger.warning("%d tasks are left to others: their rows are locked", len(left))
        finally:
            connection.close()

    def _serve(self, seconds: float | None) -> None:
        try:
            batch = self._inbox.get(timeout=seconds)
        except queue.Empty:
            batch = None
        self._refresh_connection()
        if batch is not None:
            self._follow(batch)
        # Once it stops, `run` tries the rest: an attempt that started now would find no loop.
        if not self._stopping and (task := self._completer.backlog.due()):
            self._try_again(task)

    def _follow(self, batch: CommitBatch) -> None:
        post_commit = self._completer.post_commit
        with tolerated("resolve"):
            events.append(batch.elsewhere)
            if resolved := post_commit.resolve(batch):
                self._send(resolved)
            self._completer.owe(post_commit.take_owed())
        with tolerated("follow_up"):
            post_commit.follow_up(batch)
        # Counted before the loop is woken, as a burst may be waiting for `is_idle` only.
        self.done += 1
        self._send([])

    def _try_again(self, task: DeferredTask) -> None:
        messages = list(task.messages)
        try:
            self._completer.record(CommitBatch(messages, clock.now(), LOCK_TIMEOUTS[0]), self._send)
        except Locked:
            self._completer.backlog.postpone(task)
            return
        except Refused:
            self._completer.record_apart(messages, self._send)
        self._completer.backlog.done(task, len(messages))

    def _send(self, messages: Sequence[Message]) -> None:
        here, elsewhere = split_events_by_server(messages)
        # In one message: sent one by one, the first would wake the loop and the rest miss its turn.
        self._loop_inbox.put(SendToRedis(here))
        events.append(elsewhere)

    def _refresh_connection(self) -> None:
        if self._is_cut_off:
            self._is_cut_off = False
            connection.close()
        close_old_connections()
