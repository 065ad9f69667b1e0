"""The reconciler that every worker runs: one worker's turn at a time, one comparison a second.

Whoever holds the lock goes round; the lock ends by itself when its holder dies. All repairs may be
done twice, so the lock saves work and nothing depends on it.
"""

import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from plugspace_queue.broker import audit, keys, server_epochs
from plugspace_queue.broker.connection import Client, client
from plugspace_queue.broker.routing import PerServerErrors
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.text import clean
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.reconcile.compare import (
    Comparison,
    compare_again,
    compare_all,
)
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.repair import repair

logger = logging.getLogger("plugspace_queue.reconciling")

LOCK_TTL = 30.0
"""Seconds until another worker goes round when the one that did has died."""

ROUND = 30.0
"""Seconds from the beginning of a round to that of the next one, at least."""


def confirm(
    findings: Iterable[Finding],
    now: datetime,
    wait: Callable[[float], object],
    errors: PerServerErrors,
) -> list[Finding]:
    """Those that a second comparison, one lease later, finds again; in their order."""
    first = list(dict.fromkeys(findings))
    if not first:
        return []
    wait(get_settings().lease)
    return compare_again(first, now, errors)


class PendingFindings:
    """What was found once, until one lease has passed and it is compared again."""

    MOST = 10_000
    """Of more the rest is found again in the next round."""

    def __init__(self) -> None:
        self._since: dict[Finding, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, findings: Iterable[Finding]) -> None:
        """Remember when each was found first."""
        for finding in findings:
            if len(self._since) < self.MOST:
                self._since.setdefault(finding, time.monotonic())

    def take_confirmed(self, now: datetime) -> list[Finding]:
        """Those that are old enough and still so; all of that age are forgotten."""
        newest = time.monotonic() - get_settings().lease
        due = [finding for finding, since in self._since.items() if since <= newest]
        # Of a queue that cannot be compared now nothing is known: the next round finds it again.
        confirmed = compare_again(due, now, PerServerErrors())
        for finding in due:
            del self._since[finding]
        return confirmed


class ReconcileRunner:
    """Rounds over everything, one comparison a turn."""

    _round: Iterator[Comparison] | None
    _pending: PendingFindings

    def __init__(self) -> None:
        self._token = uuid.uuid4().hex
        self._epochs: dict[Client, str | None] = {}
        self._ended_until: datetime | None = None
        self._start_over()

    def turn(self, now: datetime) -> int:
        """The next comparison, and repairs of what two have found; how many. Raises Unavailable."""
        if not audit.hold_lock(client(), keys.reconciler(), self._token, LOCK_TTL):
            self._start_over()
            return 0
        self._start_over_after_loss()
        try:
            found = self._next_comparison(now).findings
            confirmed = self._pending.take_confirmed(now)
        except Unavailable:
            # A generator that has raised is at its end; the next round begins as after a whole
            # one. What was found in other queues still waits for its second comparison.
            self._round = None
            raise
        except Exception:
            self._start_over()
            raise
        self._pending.add(finding for finding in found if not finding.kind.at_once)
        at_once = [finding for finding in found if finding.kind.at_once]
        return _repair(at_once, now, logging.INFO) + _repair(confirmed, now, logging.WARNING)

    def end(self) -> None:
        """Let another worker go round."""
        try:
            audit.release_lock(client(), keys.reconciler(), self._token)
        except Unavailable:
            return

    def _start_over(self) -> None:
        self._round = None
        self._next_at = 0.0
        self._begun_at: datetime | None = None
        self._pending = PendingFindings()

    def _start_over_after_loss(self) -> None:
        """The relay publishes what waits; all else that Redis lost is found from the start on."""
        epochs = dict(self._epochs)
        for server in {client(kind.queue_name) for kind in TaskType}:
            # One that is away may come back with all its data.
            with contextlib.suppress(Unavailable):
                epochs[server] = server_epochs.epoch(server)
        if epochs != self._epochs:
            self._start_over()
        self._epochs = epochs

    def _next_comparison(self, now: datetime) -> Comparison:
        if self._round is None:
            if time.monotonic() < self._next_at:
                return Comparison()
            self._next_at = time.monotonic() + ROUND
            self._begun_at = now
            self._round = compare_all(now, ended_since=self._ended_until)
        found = next(self._round, None)
        if found is None:
            # Only a whole round has seen all that ended: an outage may be of any length.
            self._round, self._ended_until = None, self._begun_at
        return found or Comparison()


def _repair(findings: list[Finding], now: datetime, level: int) -> int:
    for (code, queue), count in sorted(Counter((f.code, f.queue) for f in findings).items()):
        some = [f.key for f in findings if (f.code, f.queue) == (code, queue)][:3]
        named = clean(", ".join(some))
        logger.log(level, "repairing %s of %s (%d): %s", code, queue or "copies", count, named)
    return repair(findings, now)
