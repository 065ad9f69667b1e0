"""What follows a commit: Redis and listeners hear of what started and ended.

All of it is safe to lose: the rows say what is still to do, and maintenance does it. What may take
long (receivers of signals, refunds, cascades, rows that somebody holds) is done by a thread of its
own, which holds up no start and no settle.
"""

import contextlib
import json
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone

from plugspace_queue import announcing, metrics, mirrors, publishing, quotas, task_log
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.routing import ANY_QUEUE
from plugspace_queue.broker.task_store import Note
from plugspace_queue.conf import get_settings
from plugspace_queue.db.transactions import LOOK, is_of_a_row, lock_timeout
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import EventName, Outcome, State
from plugspace_queue.errors import WORKER_LOST
from plugspace_queue.events import publish as events
from plugspace_queue.models import Attempt, Task
from plugspace_queue.processing.outcome import Failure
from plugspace_queue.signals import SIGNALS
from plugspace_queue.task_log import EndedAttempt
from plugspace_queue.worker import rendering, unstarted
from plugspace_queue.worker.commit import CommitBatch, Completion, Counts, added
from plugspace_queue.worker.state import Announce, HeldLease, Settle
from plugspace_queue.workflows import advance

logger = logging.getLogger("plugspace_queue.worker")

SHORT_LOOK = "20ms"
"""How long a step waits for a row that somebody holds, when one before it did in vain."""

Message = Settle | Announce
Signals = list[tuple[EventName, Callable[[], Task], str]]
"""Signals to be sent: their name, their task, their payload as JSON."""


class PostCommit:
    """The steps after a commit; one that fails keeps no other from being done."""

    def __init__(self) -> None:
        self._owed: Counts = {}
        self._look = LOOK

    # In the loop.

    def messages(self, batch: CommitBatch) -> list[Message]:
        """What Redis is told of a commit, once its attempts were launched."""
        told: list[Message] = []
        signals: Signals = []
        at = timezone.now().isoformat()
        for step in (_starts, _ends, _progress):
            with tolerated(step.__name__):
                told += step(batch, at, signals)
        batch.signals = signals
        with tolerated("measure"):
            measure(batch)
        return told

    # In the thread for what may take long.

    def needs_more(self, batch: CommitBatch) -> bool:
        """Whether there is something to do for `follow_up` at all."""
        return bool(
            batch.signals
            or batch.released
            or batch.unsettled
            or batch.unstarted
            or task_log.wants_successes()
            or any(one.update.outcome is not Outcome.COMPLETE for one in batch.completions)
            or any(row.workflow_id for row in batch.started)
            or any(one.execution.row.workflow_id for one in batch.completions)
        )

    def follow_up(self, batch: CommitBatch) -> list[Message]:
        """What may take long; what Redis is told of it."""
        self._look = LOOK
        for step in (
            self._publish_released,
            self._send_signals,
            self._report,
            self._cascade,
            self._refund,
        ):
            with tolerated(step.__name__):
                step(batch)
        told: list[Message] = []
        told += [self._resolved(held, batch) for held in (*batch.unsettled, *batch.unstarted)]
        with tolerated("project_workflows"):
            _project_workflows(batch)
        return told

    def take_owed(self) -> Counts:
        """Counts that resolutions could not add, for the next commit to pay."""
        owed, self._owed = self._owed, {}
        return owed

    def _publish_released(self, batch: CommitBatch) -> None:
        if batch.released:
            publishing.publish_ids(batch.released)

    def _send_signals(self, batch: CommitBatch) -> None:
        for name, task_of, text in batch.signals:
            with tolerated("send_signal"):
                events.tell(name, task_of(), json.loads(text))

    def _report(self, batch: CommitBatch) -> None:
        _log_changes(batch)
        for one in _to_log(batch):
            with tolerated("log"):
                announcing.attempt_ended(_ended_attempt(one))

    def _cascade(self, batch: CommitBatch) -> None:
        recorded = batch.recorded
        failed = [one.update.task_id for one in recorded if one.update.state in _CASCADES]
        if failed:
            # Somebody may have retried one meanwhile: its children wait for it again.
            rows = Task.objects.filter(pk__in=failed, state__in=_CASCADES)
            with self._brief():
                advance.cascade(list(rows.values_list("pk", flat=True)), batch.now)

    def _refund(self, batch: CommitBatch) -> None:
        # Outside the group commit: a busy usage row must not hold up everybody's endings.
        owed = [task_after(one) for one in batch.recorded if _is_system_failure(one)]
        if owed:
            with self._brief():
                quotas.refund(owed, batch.now, note="system failure")

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
            logger.exception("the row of a lease could not be read; its task goes back")
            _reconnect_after(error)
            if is_of_a_row(error):
                return unstarted.Resolution(unstarted.hand_back_later(held, batch.now))
            return unstarted.Resolution(unstarted.hand_back(held))

    @contextlib.contextmanager
    def _brief(self) -> Iterator[None]:
        """One transaction that does not wait long for a row; maintenance does what it could not.

        Somebody's long transaction would hold up everything this worker resolves: it may
        hold the rows of many, as a caller's that submits holds its organization's usage.
        """
        try:
            with lock_timeout(self._look):
                yield
        except OperationalError:
            self._look = SHORT_LOOK
            raise


@contextlib.contextmanager
def tolerated(step: str) -> Iterator[None]:
    """Log what a step raises: the rows say what is still to do. A dead thread would do nothing."""
    try:
        yield
    except Exception as error:
        logger.exception("%s failed after a group commit", step)
        _reconnect_after(error)


def _reconnect_after(error: Exception) -> None:
    if isinstance(error, DatabaseError | InterfaceError):
        connection.close()


def split_events_by_server(messages: Sequence[Message]) -> tuple[list[Message], list[Note]]:
    """The messages as their queues' servers get them, and the events for the stream's server.

    On the stream's own server a settle writes its event in the same step. Events of queues that
    are on another server are appended after the commit; while the stream's server is away they are
    lost to listeners.
    """
    elsewhere: list[Note] = []
    queues = {one.queue if isinstance(one, Announce) else one.held.queue for one in messages}
    here = {queue for queue in queues if client(queue) is client(ANY_QUEUE)}
    if here == queues:
        return list(messages), elsewhere
    return [_as_server_gets(one, here, elsewhere) for one in messages], elsewhere


def _as_server_gets(one: Message, here: set[str], elsewhere: list[Note]) -> Message:
    if isinstance(one, Announce):
        if one.queue in here:
            return one
        elsewhere += [Note(note.task_id, event=note.event) for note in one.notes if note.event]
        notes = [note._replace(event=None) for note in one.notes if note.snapshot]
        return one._replace(notes=notes)
    if one.held.queue in here:
        return one
    if one.settlement.event:
        elsewhere.append(_ending(one))
    return one._replace(settlement=one.settlement._replace(event=None))


def _ending(message: Settle) -> Note:
    """The event of an ending, with the result that it tells."""
    settled = message.settlement
    lease = message.held.lease
    note = Note(settled.task_id, event=settled.event, organization_id=lease.organization_id)
    if not settled.tells_result:
        return note
    return note._replace(result=settled.result or "", is_large=settled.is_large)


# Messages of a commit.


def _starts(batch: CommitBatch, at: str, signals: Signals) -> list[Message]:
    notes: dict[str, list[Note]] = {}
    is_heard = SIGNALS[EventName.STARTED].has_listeners(Task)
    for held in batch.guarded:
        if (execution := held.execution) is not None:
            note = rendering.started_note(execution)
            notes.setdefault(held.queue, []).append(note)
            if is_heard:
                signals.append((EventName.STARTED, execution.row.as_task, note.event or ""))
    return [Announce(queue, told) for queue, told in notes.items()]


def _ends(batch: CommitBatch, at: str, signals: Signals) -> list[Message]:
    told: list[Message] = []
    written = batch.written
    for one in batch.completions:
        # One that was not written belongs to somebody else by now, or was written by a commit
        # whose answer got lost: its row is asked.
        is_settled = one.key in written
        if is_settled:
            try:
                told += _ending_of(one, at, signals)
            except Exception:
                # The others of its batch are settled all the same.
                logger.exception("%s cannot be settled by its result", one.held.task_id)
                is_settled = False
        if not is_settled:
            batch.unsettled.append(one.held)
    return told


def _ending_of(one: Completion, at: str, signals: Signals) -> list[Message]:
    notes, settlement = rendering.settlement(one, at)
    told: list[Message] = [Settle(one.held, settlement)]
    if any(SIGNALS[name].has_listeners(Task) for name in rendering.EVENTS[one.update.outcome]):
        texts = rendering.event_texts(one, at)
        signals += [(name, lambda: task_after(one), text) for name, text in texts]
    return [Announce(one.held.queue, notes), *told] if notes else told


def _progress(batch: CommitBatch, at: str, signals: Signals) -> list[Message]:
    told: list[Message] = []
    is_heard = SIGNALS[EventName.PROGRESS].has_listeners(Task)
    for execution, held in batch.progressed.items():
        if execution.is_recorded or execution.progress is None:
            continue
        execution.reports += 1
        progress = execution.progress
        note = rendering.progress_note(execution, at)
        told.append(Announce(held.queue, [note]))
        if is_heard:
            row = execution.row
            signals.append(
                (
                    EventName.PROGRESS,
                    lambda row=row, progress=progress: row.as_task(progress=progress),  # type: ignore[misc]
                    note.event or "",
                )
            )
    return told


def task_after(one: Completion) -> Task:
    """The task of an ended attempt as a model instance, as its row is now."""
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
    )


_CASCADES = frozenset({State.FAILED, State.CANCELLED})


def _is_system_failure(one: Completion) -> bool:
    failure = one.result.failure
    is_failed = one.result.outcome is Outcome.FAILED
    return is_failed and failure is not None and failure.code in get_settings().refund_on


def _project_workflows(batch: CommitBatch) -> None:
    rows = [*batch.started, *(one.execution.row for one in batch.completions)]
    touched = {uuid.UUID(row.workflow_id) for row in rows if row.workflow_id is not None}
    if touched:
        mirrors.write_workflows(sorted(touched))


# The log.

WILL_RETRY = frozenset({Outcome.RETRY, Outcome.DEFERRED, Outcome.LOST})

_LOST = Failure(code=WORKER_LOST, message="The process of this attempt died.", retryable=True)


def _log_changes(batch: CommitBatch) -> None:
    if task_log.wants_changes():
        task_log.changed([row.task_id for row in batch.started], State.PROCESSING)
        for one in batch.recorded:
            task_log.changed([one.update.task_id], one.update.state, State.PROCESSING)


def _to_log(batch: CommitBatch) -> list[Completion]:
    """The endings that are logged: failures, and others where anybody reads them."""
    all_of_them = task_log.wants_successes()
    return [
        one
        for one in batch.completions
        if all_of_them or one.result.outcome is not Outcome.COMPLETE
        if one.key in batch.written or _was_recorded(one)
    ]


def _was_recorded(one: Completion) -> bool:
    """Whether its commit was made though the answer got lost; a refused one is another's."""
    ended = Attempt.objects.filter(task_id=uuid.UUID(one.update.task_id), fence=one.update.fence)
    return ended.filter(outcome=one.update.outcome).exists()


def _ended_attempt(one: Completion) -> EndedAttempt:
    row, result = one.execution.row, one.result
    failure = result.failure or (_LOST if result.outcome is Outcome.LOST else None)
    is_failure = failure is not None and result.outcome in task_log.FAILURES
    return EndedAttempt(
        task_id=row.task_id,
        type=row.type,
        organization_id=row.organization_id,
        attempt=row.attempt_count,
        retry_count=one.update.retry_count,
        worker=row.worker_name,
        outcome=result.outcome,
        will_retry=result.outcome in WILL_RETRY,
        is_last=result.outcome is Outcome.FAILED,
        code=failure.code if failure else None,
        error=failure.whole_message if failure else None,
        exception=failure.as_exception() if failure and is_failure else None,
    )


# The metrics.


def measure(batch: CommitBatch) -> None:
    """Count waits of what started, runs and ends of what was recorded: once a batch, in memory."""
    counts: metrics.Counts = Counter()
    for row in batch.started:
        # No rerun, and no step that had to wait for its parents.
        if not (row.retry_count or row.deferral_count or row.recovery_count or row.step):
            waited = (row.started_at - row.queued_at).total_seconds()
            metrics.observe(counts, metrics.WAIT, waited, row.type)
    ends: Counter[tuple[str, str, State, int]] = Counter()
    for one in batch.recorded:
        row, update = one.execution.row, one.update
        metrics.observe(counts, metrics.RUN, update.duration / 1000, row.type)
        ends[row.type, update.outcome.value, update.state, row.priority] += 1
    for (kind, outcome, state, priority), number in ends.items():
        counts[metrics.field(metrics.ATTEMPTS, kind, outcome)] += number
        if state in lifecycle.FINAL:
            counts[metrics.field(metrics.ENDED, kind, state.value, str(priority))] += number
    if counts:
        metrics.add(counts)
