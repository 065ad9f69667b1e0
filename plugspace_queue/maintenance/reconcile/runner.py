"""The reconciler that runs by itself: any worker's turn, a bounded look a second.

Whoever holds the lock goes round; it ends by itself when its holder dies. All repairs may be done
twice, so the lock saves work and nothing hangs on it.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from plugspace_queue.broker import keys, server_epochs
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.locks import Lock
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.reconcile import reading
from plugspace_queue.maintenance.reconcile.confirmation import PendingFindings
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.repair import repair
from plugspace_queue.maintenance.reconcile.tasks import Look

logger = logging.getLogger("plugspace_queue.reconciling")

HELD_FOR = 30.0
"""Seconds until another worker goes round when the one that did has died."""

REST = 30.0
"""Seconds from the beginning of a round to that of the next one, at least."""


class ReconcileRunner:
    """Rounds over everything, one look a turn."""

    _round: Iterator[Look] | None
    _doubts: PendingFindings

    def __init__(self) -> None:
        self._lock = Lock(keys.reconciler(), HELD_FOR)
        self._epochs: set[str | None] = set()
        self._ended_until: datetime | None = None
        self._round: Iterator[Look] | None = None
        self._leave()

    def turn(self, now: datetime) -> int:
        """The next look, and repairs of what two looks found; how many. Raises Unavailable."""
        if not self._lock.take(client()):
            self._leave()
            return 0
        self._begin_after_loss()
        try:
            look = self._next_look(now)
            confirmed = self._doubts.confirmed(now)
        except Unavailable:
            # A generator that has raised is at its end, and the next round begins as after a whole
            # one. What was found of other queues still waits for its second look.
            self._round = None
            raise
        except Exception:
            self._leave()
            raise
        at_once = [finding for finding in look.findings if finding.meaning.at_once]
        self._doubts.note(finding for finding in look.findings if not finding.meaning.at_once)
        return _repair(at_once, now, logging.INFO) + _repair(confirmed, now, logging.WARNING)

    def end(self) -> None:
        """Let another worker go round."""
        try:
            self._lock.give_back(client())
        except Unavailable:
            return

    def _leave(self) -> None:
        self._round = None
        self._next_at = 0.0
        self._begun_at: datetime | None = None
        self._doubts = PendingFindings()

    def _begin_after_loss(self) -> None:
        """The relay publishes what waits; all else that Redis lost is found from the start on."""
        epochs = {
            server_epochs.epoch(server) for server in {client(k.queue_name) for k in TaskType}
        }
        if epochs != self._epochs:
            self._leave()
        self._epochs = epochs

    def _next_look(self, now: datetime) -> Look:
        if self._round is None:
            if time.monotonic() < self._next_at:
                return Look()
            self._next_at = time.monotonic() + REST
            self._begun_at = now
            self._round = reading.everywhere(now, ended_since=self._ended_until)
        look = next(self._round, None)
        if look is None:
            # Only a whole round has seen all that ended: no outage is too long.
            self._round, self._ended_until = None, self._begun_at
        return look or Look()


def _repair(findings: list[Finding], now: datetime, level: int) -> int:
    for (kind, queue), count in _counted(findings):
        some = [f.key for f in findings if (f.kind, f.queue) == (kind, queue)][:3]
        logger.log(
            level, "repairing %s of %s (%d): %s", kind, queue or "copies", count, ", ".join(some)
        )
    return repair(findings, now)


def _counted(findings: Iterable[Finding]) -> list[tuple[tuple[str, str], int]]:
    return sorted(Counter((str(f.kind), f.queue) for f in findings).items())
