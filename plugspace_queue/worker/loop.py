"""The loop of a worker: each turn settles, acquires, starts and records.

This one thread does all work that every task needs, in groups. Each turn takes the attempts that
have ended so far, so a long task never delays short ones. While it waits for Redis or the
database, the slots keep running; their messages collect in the inbox.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence

from django.db import connection

from plugspace_queue.worker.completer import Completer, guard_first
from plugspace_queue.worker.fetcher import Fetcher, Limits
from plugspace_queue.worker.notifier import Notifiers
from plugspace_queue.worker.state import (
    Ended,
    Guard,
    HeldLease,
    LoopMessage,
    Lost,
    Progressed,
    Returned,
    RowMessage,
    SendToRedis,
    Stop,
    Woken,
)

logger = logging.getLogger("plugspace_queue.worker")

MOST_RECORDED = 200
"""Most messages of one group commit."""

COUNT_AGAIN = 1.0
"""Seconds without a message after which pending counts are written."""


class AttemptLoop(threading.Thread):
    """Acquires leases, starts their attempts, writes the results into rows and settles them."""

    def __init__(
        self,
        inbox: "queue.SimpleQueue[LoopMessage]",
        *,
        fetcher: Fetcher,
        completer: Completer,
        notifiers: Notifiers,
        limits: Limits,
    ) -> None:
        super().__init__(name="plugspace-attempts", daemon=True)
        self.turned_at = time.monotonic()
        self.is_complete = False
        """Whether it ended normally and not by an exception."""
        self._inbox = inbox
        self._fetcher = fetcher
        self._completer = completer
        self._notifiers = notifiers
        self._limits = limits
        self._rows: deque[RowMessage] = deque()
        """Messages to be written by the next commits."""
        self._is_ending = False
        self._followed_up = 0

    def run(self) -> None:
        try:
            while not (self._is_done() or self._is_ending):
                self.turn(self._collect())
            self._finish()
            self.is_complete = True
        finally:
            connection.close()

    def end(self) -> None:
        """End even if leases are still held (any thread); endings so far are written first."""
        self._is_ending = True
        self._inbox.put(Stop())

    def turn(self, messages: Sequence[LoopMessage]) -> None:
        """One round for all tasks: two commits and one round trip to Redis."""
        self.turned_at = time.monotonic()
        self._receive(messages)
        self._completer.announce()
        granted = self._fetcher.exchange()
        self._start(granted)
        self._record()
        self._notifiers.watch(self._fetcher.queues_with_free_slots())

    @property
    def alive_at(self) -> float:
        """When the last turn began; the current time while it waits for the database."""
        return time.monotonic() if self._completer.is_in_database else self.turned_at

    # The steps of a turn.

    def _collect(self) -> list[LoopMessage]:
        """Wait for a message, then return all that have arrived."""
        messages: list[LoopMessage] = []
        seconds = self._wait_seconds()
        try:
            messages.append(self._inbox.get(timeout=seconds) if seconds else self._get())
            while True:
                messages.append(self._get())
        except queue.Empty:
            return messages

    def _get(self) -> LoopMessage:
        return self._inbox.get_nowait()

    def _wait_seconds(self) -> float:
        if self._rows or self._completer.has_news:
            return 0.0
        seconds = self._fetcher.wait_seconds()
        return min(seconds, COUNT_AGAIN) if self._completer.owes else seconds

    def _receive(self, messages: Sequence[LoopMessage]) -> None:
        fetcher = self._fetcher
        for message in messages:
            match message:
                case Ended(held=held, execution=execution):
                    self._rows.append(message)
                    if execution.is_returned:
                        fetcher.free(held)
                case Progressed() | Lost():
                    self._rows.append(message)
                case Returned(held=held):
                    fetcher.free(held)
                case _:
                    self._receive_other(message)

    def _receive_other(self, message: SendToRedis | Woken | Stop) -> None:
        match message:
            case SendToRedis(messages=messages):
                self._fetcher.send(messages)
            case Woken(queue=name):
                self._fetcher.queues[name].is_ready = True
            case Stop():
                self._fetcher.is_stopping = True

    def _start(self, granted: Sequence[HeldLease]) -> None:
        """Write starts first, in a commit of their own, to keep the latency of tasks low."""
        if not granted:
            return
        # If a task's earlier attempt ends in this turn, that ending is written before its start.
        if not guard_first(granted, self._rows):
            self._write_rows()
        self._completer.write([Guard(granted)])

    def _record(self) -> None:
        """Write what ended before this turn and during it."""
        if not self._rows:
            if self._completer.owes:
                self._completer.pay()
            return
        self._receive(self._all_now())
        self._write_rows()

    def _write_rows(self) -> None:
        while self._rows:
            messages = [self._rows.popleft() for _ in range(min(len(self._rows), MOST_RECORDED))]
            self._completer.write(messages)

    def _all_now(self) -> list[LoopMessage]:
        messages: list[LoopMessage] = []
        try:
            while True:
                messages.append(self._get())
        except queue.Empty:
            return messages

    # When and how the loop ends.

    def _is_done(self) -> bool:
        if self._rows or not self._fetcher.is_idle():
            return False
        if self._fetcher.is_stopping or self._fetcher.budget() == 0:
            return True
        if self._limits.burst:
            return self._found_nothing()
        most = self._limits.max_idle_time
        return most is not None and time.monotonic() - self._fetcher.active_at >= most

    def _found_nothing(self) -> bool:
        """Whether a burst is over: no task waits, and no follow-up may release another one."""
        follow_up = self._completer.follow_up
        if not follow_up.is_idle:
            return False
        if follow_up.done != self._followed_up:
            self._followed_up = follow_up.done
            self._fetcher.ask_all_again()
        return not any(one.is_ready for one in self._fetcher.queues.values())

    def _finish(self) -> None:
        """Write and settle what has ended; other leases are left to expire."""
        while True:
            self._receive(self._all_now())
            if not self._rows:
                break
            self._write_rows()
        self._fetcher.is_stopping = True
        self._completer.announce()
        self._fetcher.exchange()
        self._completer.pay()
        self._fetcher.close()
