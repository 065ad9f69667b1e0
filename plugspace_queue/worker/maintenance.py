"""Maintenance jobs that every worker runs; each is idempotent, so no leader is needed.

They have a thread of their own, so that a slow query delays nothing else.
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
from plugspace_queue.services import failure_counts
from plugspace_queue.worker.control import PeriodicJob, PeriodicJobs

SAMPLING = 10.0
"""Seconds between two checks whether a new minute of statistics has to be stored."""


class MaintenanceThread(PeriodicJobs):
    """Publishes unpublished rows, ends expired tasks, rescues orphans, reconciles, samples."""

    def __init__(self) -> None:
        interval = get_settings().relay_interval
        suspects = OrphanDetector()
        self._reconciler = ReconcileRunner()
        self._publishing = PeriodicJob(self._relay, interval)
        jobs = [
            PeriodicJob(metrics.flush_due, metrics.INTERVAL),
            PeriodicJob(failure_counts.flush_due, failure_counts.INTERVAL),
            self._publishing,
            PeriodicJob(lambda: expiry.expire_due(clock.now()), interval),
            PeriodicJob(lambda: expiry.finish_cancels(clock.now()), interval),
            PeriodicJob(lambda: expiry.free_blocked(clock.now()), 6 * interval),
            PeriodicJob(lambda: suspects.check(clock.now()), get_settings().lease / 2),
            PeriodicJob(lambda: expiry.refund_owed(clock.now()), 6 * interval),
            PeriodicJob(self._reconcile, 1.0),
            PeriodicJob(lambda: statistics.sample(clock.now()), SAMPLING),
        ]
        super().__init__("maintenance", jobs)

    def repair_soon(self) -> None:
        """Run the relay as soon as possible (any thread; does not block)."""
        self._publishing.due_at = 0.0
        self._called.set()

    def _end(self) -> None:
        self._reconciler.end()
        failure_counts.flush()

    def _relay(self) -> None:
        relay(clock.now(), goes_on=lambda: not self._stopping.is_set())

    def _reconcile(self) -> None:
        """One turn of the reconciler; Unavailable is ignored, as the relay's job logs it."""
        with contextlib.suppress(Unavailable):
            self._reconciler.turn(clock.now())
