"""What every worker does beside its tasks, without a leader: each job is idempotent.

A thread of its own, so that a slow query holds up nothing else.
"""

import contextlib

from plugspace_queue import metrics
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance import expiry, statistics
from plugspace_queue.maintenance.reconcile.runner import ReconcileRunner
from plugspace_queue.maintenance.relay import relay
from plugspace_queue.maintenance.rescue import OrphanDetector
from plugspace_queue.worker.control import PeriodicJob, PeriodicJobs

SAMPLING = 10.0
"""Seconds between two looks whether a new minute is to be written down."""


class MaintenanceThread(PeriodicJobs):
    """Publishes what was left unpublished, ends what expired, reconciles when it is its turn."""

    def __init__(self) -> None:
        interval = get_settings().relay_interval
        suspects = OrphanDetector()
        self._reconciler = ReconcileRunner()
        self._publishing = PeriodicJob(self._relay, interval)
        jobs = [
            PeriodicJob(metrics.flush_due, metrics.INTERVAL),
            self._publishing,
            PeriodicJob(lambda: expiry.expire_due(clock.now()), interval),
            PeriodicJob(lambda: expiry.finish_cancels(clock.now()), interval),
            PeriodicJob(lambda: expiry.free_blocked(clock.now()), 6 * interval),
            PeriodicJob(lambda: suspects.look(clock.now()), get_settings().lease / 2),
            PeriodicJob(lambda: expiry.refund_owed(clock.now()), 6 * interval),
            PeriodicJob(self._reconcile, 1.0),
            PeriodicJob(lambda: statistics.sample(clock.now()), SAMPLING),
        ]
        super().__init__("maintenance", jobs)

    def repair_soon(self) -> None:
        """Write the gates and publish what is missing now (any thread; it does not wait)."""
        self._publishing.due_at = 0.0
        self._called.set()

    def _end(self) -> None:
        self._reconciler.end()

    def _relay(self) -> None:
        relay(clock.now(), goes_on=lambda: not self._stopping.is_set())

    def _reconcile(self) -> None:
        """One look of the reconciler; while Redis is away the relay says so."""
        with contextlib.suppress(Unavailable):
            self._reconciler.turn(clock.now())
