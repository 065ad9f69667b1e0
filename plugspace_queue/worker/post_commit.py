"""The steps after a commit: they send starts and endings to Redis and to listeners.

All of them may be lost in a crash: the rows show what is missing, and maintenance does it. Steps
that may take long (signal receivers, refunds, cascades, locked rows) run in the follow-up thread,
so that they delay no start and no settle.
"""

import contextlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from functools import partial

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone

from plugspace_queue import task_log
from plugspace_queue.broker.task_store import Note
from plugspace_queue.conf import get_settings
from plugspace_queue.db.transactions import LOCK_TIMEOUT, is_of_a_row, lock_timeout
from plugspace_queue.domain.enums import EventName, Outcome, State
from plugspace_queue.events import publish as events
from plugspace_queue.limits import quota
from plugspace_queue.maintenance import rescue
from plugspace_queue.models import Task
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import failure_counts, termination
from plugspace_queue.signals import SIGNALS
from plugspace_queue.worker import reports, templates, unstarted
from plugspace_queue.worker.commit import CommitBatch
from plugspace_queue.worker.completion import Completion, Counts, added, failed_task
from plugspace_queue.worker.event_routing import Message
from plugspace_queue.worker.state import Announce, HeldLease, Settle

logger = logging.getLogger("plugspace_queue.worker")

SHORT_LOCK_TIMEOUT = "20ms"
"""Lock timeout of a step after an earlier step of the same batch has timed out."""

Signals = list[tuple[EventName, Callable[[], Task], str]]
"""Signals to send: name, task and payload as JSON."""


class PostCommit:
    """The steps after a commit; a step that fails does not prevent the others."""

    def __init__(self) -> None:
        self._owed: Counts = {}
        self._lock_timeout = LOCK_TIMEOUT

    # Called by the loop's thread.

    def messages(self, batch: CommitBatch) -> list[Message]:
        """The messages to Redis about a commit, except its starts; called after the launch."""
        messages: list[Message] = []
        at = timezone.now().isoformat()
        for step in (_signal_starts, _ends, _progress):
            with tolerated(step.__name__):
                messages += step(batch, at)
        with tolerated("measure"):
            reports.measure(batch)
        return messages

    def starts(self, batch: CommitBatch) -> list[Message]:
        """The messages to Redis about the starts of a commit.

        They are rendered as late as possible: an attempt that has ended by then needs no copy here,
        as its settle contains one.
        """
        notes: dict[str, list[Note]] = {}
        with tolerated("starts"):
            for held in batch.guarded:
                if (execution := held.execution) is not None:
                    notes.setdefault(held.queue, []).append(templates.started_note(execution))
        return [Announce(queue, of_queue) for queue, of_queue in notes.items()]

    # Called by the follow-up thread, except `needs_more`.

    def needs_more(self, batch: CommitBatch) -> bool:
        """Whether `follow_up` has anything to do for this batch."""
        return bool(
            batch.signals
            or batch.released
            or batch.recovered
            or batch.unsettled
            or batch.unstarted
            or task_log.wants_successes()
            or any(one.update.outcome is not Outcome.COMPLETE for one in batch.completions)
            or any(row.workflow_id for row in batch.started)
            or any(one.execution.row.workflow_id for one in batch.completions)
        )

    def resolve(self, batch: CommitBatch) -> list[Message]:
        """Settle the leases that did not start or whose ending was not written.

        They keep their slots until then, so this comes before the steps that may be slow.
        """
        self._lock_timeout = LOCK_TIMEOUT
        return [self._resolved(held, batch) for held in (*batch.unsettled, *batch.unstarted)]

    def follow_up(self, batch: CommitBatch) -> None:
        """Run the steps that may be slow: receivers of the host, cascades, refunds."""
        self._lock_timeout = LOCK_TIMEOUT
        for step in (
            self._publish_released,
            self._publish_recovered,
            self._count_failures,
            self._send_signals,
            self._report,
            self._cascade,
            self._refund,
        ):
            with tolerated(step.__name__):
                step(batch)
        with tolerated("project_workflows"):
            _project_workflows(batch)

    def take_owed(self) -> Counts:
        """Take the counts that resolutions have left for a later commit to add."""
        owed, self._owed = self._owed, {}
        return owed

    def _publish_released(self, batch: CommitBatch) -> None:
        if batch.released:
            publishing.publish_ids(batch.released)

    def _publish_recovered(self, batch: CommitBatch) -> None:
        if batch.recovered:
            rescue.publish([loss.task.pk for loss in batch.recovered])

    def _count_failures(self, batch: CommitBatch) -> None:
        failure_counts.note(failed_task(one) for one in batch.recorded if one.update.fingerprint)
        failure_counts.flush_due()

    def _send_signals(self, batch: CommitBatch) -> None:
        for name, task_of, text in batch.signals:
            with tolerated("send_signal"):
                events.send_signal(name, task_of(), json.loads(text))

    def _report(self, batch: CommitBatch) -> None:
        reports.log_changes(batch)
        for loss in batch.recovered:
            with tolerated("announce_loss"):
                rescue.announce(loss)
        for one in reports.to_log(batch):
            with tolerated("log"):
                termination.attempt_ended(reports.ended_attempt(one))

    def _cascade(self, batch: CommitBatch) -> None:
        recorded = batch.recorded
        failed = [one.update.task_id for one in recorded if one.update.state in _CASCADES]
        if failed:
            # A task that was retried meanwhile is excluded, as its children wait for it again.
            rows = Task.objects.filter(pk__in=failed, state__in=_CASCADES)
            with self._brief():
                termination.cascade(list(rows.values_list("pk", flat=True)), batch.now)

    def _refund(self, batch: CommitBatch) -> None:
        # Outside the group commit, so that a locked usage row does not block all endings.
        owed = [task_after(one) for one in batch.recorded if _is_system_failure(one)]
        if owed:
            with self._brief():
                quota.refund(owed, batch.now, note="system failure")

    def _resolved(self, held: HeldLease, batch: CommitBatch) -> Settle:
        resolution = self._resolution(held, batch)
        self._owed = added(self._owed, resolution.owed)
        return Settle(held, resolution.settlement, resolution.bump_fence)

    def _resolution(self, held: HeldLease, batch: CommitBatch) -> unstarted.Resolution:
        try:
            with self._brief():
                resolve = (
                    unstarted.end_refused
                    if held in batch.refused
                    else unstarted.resolve_unstarted_lease
                )
                return resolve(held, batch.now)
        except Exception as error:
            logger.exception("the row of %s could not be judged; it goes back", held.task_id)
            _reconnect_after(error)
            if is_of_a_row(error):
                return unstarted.Resolution(unstarted.hand_back_later(held, batch.now))
            return unstarted.Resolution(unstarted.hand_back(held))

    @contextlib.contextmanager
    def _brief(self) -> Iterator[None]:
        """A transaction with a short lock timeout; maintenance repeats what it could not do.

        A caller's long transaction may lock a row that many tasks need, as a submit locks the usage
        row of its organization. Waiting for it would block everything that this worker resolves.
        """
        try:
            with lock_timeout(self._lock_timeout):
                yield
        except OperationalError:
            self._lock_timeout = SHORT_LOCK_TIMEOUT
            raise


@contextlib.contextmanager
def tolerated(step: str) -> Iterator[None]:
    """Log what a step raises instead of ending the thread; maintenance repeats the step."""
    try:
        yield
    except Exception as error:
        logger.exception("%s failed after a group commit", step)
        _reconnect_after(error)


def _reconnect_after(error: Exception) -> None:
    if isinstance(error, DatabaseError | InterfaceError):
        connection.close()


# Messages of a commit.


def _signal_starts(batch: CommitBatch, at: str) -> list[Message]:
    if SIGNALS[EventName.STARTED].has_listeners(Task):
        for held in batch.guarded:
            if (execution := held.execution) is not None:
                text = templates.started_event(execution)
                batch.signals.append((EventName.STARTED, execution.row.as_task, text))
    return []


def _ends(batch: CommitBatch, at: str) -> list[Message]:
    messages: list[Message] = []
    written = batch.written
    heard = {name for name, signal in SIGNALS.items() if signal.has_listeners(Task)}
    for one in batch.completions:
        # An ending that was not written belongs to an attempt that has lost its task, or an earlier
        # commit wrote it but its answer got lost. The follow-up resolves it by its row.
        is_settled = one.key in written
        if is_settled:
            try:
                messages += _settled(one, at)
                if heard:
                    batch.signals += _signals_of(one, at, heard)
            except Exception:
                # The other endings of the batch must still be settled.
                logger.exception("%s cannot be settled by its result", one.held.task_id)
                is_settled = False
        if not is_settled:
            batch.unsettled.append(one.held)
    return messages


def _settled(one: Completion, at: str) -> list[Message]:
    notes, settlement = templates.settlement(one, at)
    settle = Settle(one.held, settlement)
    return [Announce(one.held.queue, notes), settle] if notes else [settle]


def _signals_of(one: Completion, at: str, heard: set[EventName]) -> Signals:
    if heard.isdisjoint(templates.EVENTS[one.update.outcome]):
        return []
    texts = templates.event_texts(one, at)
    return [(name, partial(task_after, one), text) for name, text in texts]


def _progress(batch: CommitBatch, at: str) -> list[Message]:
    messages: list[Message] = []
    is_heard = SIGNALS[EventName.PROGRESS].has_listeners(Task)
    for execution, held in batch.progressed.items():
        progress = execution.progress
        if execution.is_recorded or progress is None:
            continue
        execution.reports += 1
        note = templates.progress_note(execution, at)
        messages.append(Announce(held.queue, [note]))
        if is_heard:
            task_of = partial(execution.row.as_task, progress=progress)
            batch.signals.append((EventName.PROGRESS, task_of, note.event or ""))
    return messages


def task_after(one: Completion) -> Task:
    """The task of an ended attempt as a model instance with the values just written."""
    update = one.update
    return one.execution.row.as_task(
        state=update.state,
        result=update.result,
        error=update.error,
        progress=update.progress,
        completed_at=update.completed_at,
        duration=update.duration,
        tokens_used=update.tokens_used,
        cost=update.cost,
        retry_count=update.retry_count,
        deferral_count=update.deferral_count,
        recovery_count=update.recovery_count,
        wake_at=update.wake_at,
        error_code=update.error_code,
        fingerprint=update.fingerprint,
    )


_CASCADES = frozenset({State.FAILED, State.CANCELLED})


def _is_system_failure(one: Completion) -> bool:
    failure = one.result.failure
    if one.result.outcome is not Outcome.FAILED or failure is None:
        return False
    return failure.refunds or failure.code in get_settings().refund_on


def _project_workflows(batch: CommitBatch) -> None:
    rows = [*batch.started, *(one.execution.row for one in batch.completions)]
    touched = {uuid.UUID(row.workflow_id) for row in rows if row.workflow_id is not None}
    if touched:
        projections.write_workflows(sorted(touched))
