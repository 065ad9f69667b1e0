"""The reconciler: every worker calls it, one at a time is active, with one comparison a second.

Only the worker that holds the lock compares; the lock expires when its holder dies. All repairs
are idempotent, so the lock only saves work.
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
from plugspace_queue.domain.task_types import TaskType
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
"""Seconds until another worker takes over when the active one has died."""

ROUND = 30.0
"""Least seconds between the starts of two rounds."""


def confirm(
    findings: Iterable[Finding],
    now: datetime,
    wait: Callable[[float], object],
    errors: PerServerErrors,
) -> list[Finding]:
    """The findings that a second comparison, one lease later, confirms; in their order."""
    first = list(dict.fromkeys(findings))
    if not first:
        return []
    wait(get_settings().lease)
    return compare_again(first, now, errors)


class PendingFindings:
    """Findings that wait for their second comparison, one lease after the first."""

    MOST = 10_000
    """Most findings kept; the rest is found again in the next round."""

    def __init__(self) -> None:
        self._since: dict[Finding, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings with the time of their first comparison."""
        for finding in findings:
            if len(self._since) < self.MOST:
                self._since.setdefault(finding, time.monotonic())

    def take_confirmed(self, now: datetime) -> list[Finding]:
        """Compare findings older than one lease again; remove them, return the confirmed ones."""
        newest = time.monotonic() - get_settings().lease
        due = [finding for finding, since in self._since.items() if since <= newest]
        # Findings of a queue that cannot be compared now are dropped; the next round repeats them.
        confirmed = compare_again(due, now, PerServerErrors())
        for finding in due:
            del self._since[finding]
        return confirmed


class ReconcileRunner:
    """Repeats rounds over all data, with one comparison per turn."""

    _round: Iterator[Comparison] | None
    _pending: PendingFindings

    def __init__(self) -> None:
        self._token = uuid.uuid4().hex
        self._epochs: dict[Client, str | None] = {}
        self._ended_until: datetime | None = None
        self._start_over()

    def turn(self, now: datetime) -> int:
        """Run the next comparison and repair findings; return how many. Raises Unavailable."""
        if not audit.hold_lock(client(), keys.reconciler(), self._token, LOCK_TTL):
            self._start_over()
            return 0
        self._start_over_after_loss()
        try:
            found = self._next_comparison(now).findings
            confirmed = self._pending.take_confirmed(now)
        except Unavailable:
            # A generator that has raised cannot continue, so the next turn starts a new round when
            # that is due. Pending findings of other queues are kept.
            self._round = None
            raise
        except Exception:
            self._start_over()
            raise
        self._pending.add(finding for finding in found if not finding.kind.at_once)
        at_once = [finding for finding in found if finding.kind.at_once]
        return _repair(at_once, now, logging.INFO) + _repair(confirmed, now, logging.WARNING)

    def end(self) -> None:
        """Release the lock, so that another worker takes over."""
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
        """Restart the round after a data loss of Redis; the relay only publishes waiting tasks."""
        epochs = dict(self._epochs)
        for server in {client(kind.queue_name) for kind in TaskType}:
            # An unavailable server may return with all its data, so its epoch is kept.
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
            # Only a complete round has compared all ended tasks, so only now the start may advance.
            self._round, self._ended_until = None, self._begun_at
        return found or Comparison()


def _repair(findings: list[Finding], now: datetime, level: int) -> int:
    for (code, queue), count in sorted(Counter((f.code, f.queue) for f in findings).items()):
        some = [f.key for f in findings if (f.code, f.queue) == (code, queue)][:3]
        named = clean(", ".join(some))
        logger.log(level, "repairing %s of %s (%d): %s", code, queue or "copies", count, named)
    return repair(findings, now)
