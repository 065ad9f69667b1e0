"""What every worker does on the side, without a leader: each chore is idempotent.

They run in threads of their own, so that a slow query never keeps a lease from being renewed, and
the short looks at what people changed not behind the chores that may take long.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from plugspace_queue import metrics
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance import expiry, statistics
from plugspace_queue.maintenance.reconcile.runner import ReconcileRunner
from plugspace_queue.maintenance.relay import relay
from plugspace_queue.maintenance.rescue import OrphanDetector
from plugspace_queue.models import Task
from plugspace_queue.processing.run import Told
from plugspace_queue.worker import memory
from plugspace_queue.worker.table import Table
from plugspace_queue.worker.troubles import TOLD_EVERY

logger = logging.getLogger("plugspace_queue.worker")

SAMPLING = 10.0
"""Seconds between two looks whether a new minute is to be written down."""


@dataclass(eq=False)
class Chore:
    """Something to do every `interval` seconds."""

    do: Callable[[], object]
    interval: float
    due_at: float = 0.0


class Chores(threading.Thread):
    """Does chores when they are due, one after the other."""

    BEAT = 0.5
    SOON = 1.0
    """Seconds until a chore that Redis or the database kept from its work is tried again."""

    def __init__(self, name: str, chores: Sequence[Chore]) -> None:
        super().__init__(name=f"plugspace-{name}", daemon=True)
        self._chores = chores
        self._stopping = threading.Event()
        self._called = threading.Event()
        self._told = ""
        self._told_at = 0.0

    def stop(self) -> None:
        self._stopping.set()
        self._called.set()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._called.wait(self.BEAT)
                self._called.clear()
                for chore in self._chores:
                    self._do_when_due(chore)
            self._end()
        finally:
            connection.close()

    def _end(self) -> None:
        """The last thing before the thread ends."""

    def _do_when_due(self, chore: Chore) -> None:
        if time.monotonic() < chore.due_at or self._stopping.is_set():
            return
        chore.due_at = time.monotonic() + chore.interval
        try:
            close_old_connections()
            chore.do()
        except (Unavailable, OperationalError, InterfaceError) as error:
            # Not a whole interval later: an outage ends at any time.
            chore.due_at = time.monotonic() + min(chore.interval, self.SOON)
            self._tell_once_in_a_while(str(error.__cause__ or error))
            if not isinstance(error, Unavailable):
                connection.close()
        except Exception:
            # The next round does it again; a chore that fails must not end the others.
            logger.exception("an upkeep chore failed")
            connection.close()

    def _tell_once_in_a_while(self, reason: str) -> None:
        """A server that is away, or a queue that is damaged, may stay so for hours."""
        now = time.monotonic()
        if reason != self._told or now - self._told_at >= TOLD_EVERY:
            self._told, self._told_at = reason, now
            logger.warning("upkeep waits: %s", reason)


class Lookout(Chores):
    """Looks each second, whatever else takes long, at what people changed for this worker."""

    def __init__(
        self, table: Table, *, refresh: Callable[[], None], drain: Callable[[str], None]
    ) -> None:
        self._table = table
        self._drain = drain
        chores = [
            Chore(self._tell_cancelled, 1.0),
            Chore(refresh, 0.5),
            Chore(self._look_at_memory, 1.0),
        ]
        super().__init__("lookout", chores)

    def _look_at_memory(self) -> None:
        """A worker that has grown too large makes room for a fresh one."""
        most = get_settings().max_memory
        if most and (held := memory.resident()) > most:
            self._drain(f"{held:.0f} MiB in memory, MAX_MEMORY is {most}")

    def _tell_cancelled(self) -> None:
        """Stop own attempts whose row asks for it, even when the stop command was lost."""
        runs = {run.task.pk: run for _, run in self._table.runs()}
        asked: list[uuid.UUID] = (
            list(
                Task.objects.filter(
                    pk__in=list(runs), cancel_requested_at__isnull=False
                ).values_list("pk", flat=True)
            )
            if runs
            else []
        )
        for task_id in asked:
            runs[task_id].tell(Told.CANCEL)


class Upkeep(Chores):
    """Publishes what was left unpublished, ends what expired, goes round when it is its turn."""

    def __init__(self) -> None:
        interval = get_settings().relay_interval
        suspects = OrphanDetector()
        self._patrol = ReconcileRunner()
        self._mend = Chore(self._relay, interval)
        chores = [
            Chore(metrics.flush_due, metrics.INTERVAL),
            self._mend,
            Chore(lambda: expiry.expire_due(clock.now()), interval),
            Chore(lambda: expiry.finish_cancels(clock.now()), interval),
            Chore(lambda: expiry.free_blocked(clock.now()), 6 * interval),
            Chore(lambda: suspects.look(clock.now()), get_settings().lease / 2),
            Chore(lambda: expiry.refund_owed(clock.now()), 6 * interval),
            Chore(self._go_round, 1.0),
            Chore(lambda: statistics.sample(clock.now()), SAMPLING),
        ]
        super().__init__("upkeep", chores)

    def mend_soon(self) -> None:
        """Write the gates and publish what is missing now (any thread; it does not wait)."""
        self._mend.due_at = 0.0
        self._called.set()

    def _end(self) -> None:
        self._patrol.end()

    def _relay(self) -> None:
        relay(clock.now(), goes_on=lambda: not self._stopping.is_set())

    def _go_round(self) -> None:
        """One look of the reconciler; while Redis is away the relay says so."""
        with contextlib.suppress(Unavailable):
            self._patrol.turn(clock.now())
