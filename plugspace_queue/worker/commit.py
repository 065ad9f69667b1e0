"""What a commit writes: the rows of everything that started and ended since the one before."""

import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from django.db import DatabaseError, DataError, OperationalError, connection, transaction

from plugspace_queue.broker.task_store import Note
from plugspace_queue.conf import get_settings
from plugspace_queue.db import bulk
from plugspace_queue.db.attempts import Key, StartedTask
from plugspace_queue.db.recordset import Answer, pipeline, prepare_for_rows
from plugspace_queue.db.transactions import is_locked, is_of_a_row
from plugspace_queue.domain.enums import EventName, Outcome
from plugspace_queue.maintenance import rescue
from plugspace_queue.models import Task, UsageEntry
from plugspace_queue.processing.execution import Execution
from plugspace_queue.services import termination
from plugspace_queue.services.step_inputs import results_of
from plugspace_queue.worker.completion import (
    Completion,
    Counts,
    added,
    completion_of,
    counts_of,
    invalid,
)
from plugspace_queue.worker.state import Ended, Guard, HeldLease, Lost, Progressed, RowMessage

logger = logging.getLogger("plugspace_queue.worker")

LOCK_TIMEOUT = "800ms"
"""Shorter than PostgreSQL's `deadlock_timeout` (1 s): the worker, which tries again, gives way
before a caller's transaction is cancelled."""


SHORTEST_TIMEOUT = 2.0
"""Seconds that a statement may take at least, however short a lease is."""


class CommitBatch:
    """Messages sorted by kind, and what came of them.

    `lock_timeout` is how long it waits for a row that another transaction has locked.
    """

    def __init__(
        self, messages: Sequence[RowMessage], now: datetime, lock_timeout: str = LOCK_TIMEOUT
    ) -> None:
        self.now = now
        self.lock_timeout = lock_timeout
        self.guarded = [held for m in messages if isinstance(m, Guard) for held in m.held]
        self.lost = [reaped for m in messages if isinstance(m, Lost) for reaped in m.reaped]
        self.progressed: dict[Execution, HeldLease] = {
            m.execution: m.held for m in messages if isinstance(m, Progressed)
        }
        ended = [m for m in messages if isinstance(m, Ended)]
        self.completions = [completion_of(*message, now) for message in ended]
        self.owed: Counts = {}
        self.refused: set[HeldLease] = set()
        """Leases whose start the database refuses; their tasks end without having started."""
        self.signals: list[tuple[EventName, Callable[[], Task], str]] = []
        """Signals that follow the commit: their name, their task, their payload as JSON."""
        self.elsewhere: list[Note] = []
        """Events for another server than that of their queue."""
        self.unsettled: list[HeldLease] = []
        """Leases of endings that were not written by this commit, or cannot be rendered."""
        self.reset()

    def reset(self) -> None:
        """Forget what a commit that failed had found out."""
        self.written: set[Key] = set()
        self.released: list[uuid.UUID] = []
        self.recovered: list[rescue.Loss] = []
        self.started: list[StartedTask] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.uncounted: Counts = {}

    @property
    def only_starts(self) -> bool:
        """Whether it does nothing but start attempts."""
        return not (self.completions or self.lost or self.progressed)

    @property
    def recorded(self) -> list[Completion]:
        """Endings whose token still owned the task."""
        # By token, not by id: a batch may hold two attempts of one task.
        return [one for one in self.completions if one.key in self.written]

    @property
    def unstarted(self) -> list[HeldLease]:
        """Leases whose rows did not let an attempt start."""
        return [held for held in self.guarded if held.execution is None]


class Locked(Exception):
    """A row of this batch is locked; its messages are written one by one."""


class Refused(Exception):
    """The database refuses this batch, though it takes each part of it alone; nothing is written.

    Its messages are written one by one.
    """


def write(batch: CommitBatch, worker_name: str) -> None:
    """Write the batch in one transaction; what the database refuses fails only its own task.

    Raises Locked when a row is locked for too long, Refused when its messages are to be written
    one by one, the driver's errors when the database is away: nothing was written.
    """
    try:
        _write_or_prove(batch, worker_name)
    except OperationalError as error:
        raise (Locked() if is_locked(error) else error) from error


def _write_or_prove(batch: CommitBatch, worker_name: str) -> None:
    batch.reset()
    try:
        with _together(batch):
            _write_all(batch, worker_name)
    except Exception as error:
        if not (is_of_a_row(error) or _hides_its_reason(error, batch)):
            raise
        # Each part is tried alone; progress can be reported again.
        batch.reset()
        batch.progressed.clear()
        _prove(batch, worker_name)
        _write_what_is_proved(batch, worker_name)


def _hides_its_reason(error: Exception, batch: CommitBatch) -> bool:
    """Whether it may be of a row: a pipeline's own transaction does not tell what its end refuses.

    Away for real, the database says so again at once: this connection is of no more use.
    """
    is_hidden = getattr(error.__cause__, "sqlstate", None) is None and _is_one_pipeline(batch)
    if is_hidden:
        connection.close()
    return is_hidden


def _write_what_is_proved(batch: CommitBatch, worker_name: str) -> None:
    try:
        with transaction.atomic():
            _write_all(batch, worker_name)
    except Exception as error:
        batch.reset()
        raise (Refused() if is_of_a_row(error) else error) from error


def _together(batch: CommitBatch) -> contextlib.AbstractContextManager[object]:
    """One transaction; for starts alone the one of a pipeline, which comes and goes by itself."""
    return contextlib.nullcontext() if _is_one_pipeline(batch) else transaction.atomic()


def _is_one_pipeline(batch: CommitBatch) -> bool:
    return batch.only_starts and connection.vendor == "postgresql"


def _write_all(batch: CommitBatch, worker_name: str) -> None:
    _send_all(batch, worker_name)
    batch.recovered = rescue.take_all_back(batch.lost, batch.now)
    if entries := _usage_entries(batch.recorded, batch.now):
        UsageEntry.objects.bulk_create(entries)
    batch.results = _results_of_parents(batch.started)


def _results_of_parents(started: Sequence[StartedTask]) -> dict[str, dict[str, Any]]:
    """By task id, for the few that have parents."""
    tasks = [row.as_task() for row in started if row.workflow_id or not _is_first(row)]
    return {str(pk): results for pk, results in results_of(tasks).items()} if tasks else {}


def _is_first(row: StartedTask) -> bool:
    """Whether it is plain to see that the row follows no other task, without reading its JSON."""
    return '"previousTasks": []' in row.context_text or '"previousTasks":[]' in row.context_text


def count(counts: Counts) -> Counts:
    """Add to the lifetime counts; what could not be added now, and is still owed."""
    return _unpaid(counts, bulk.count_endings(counts))


def _unpaid(counts: Counts, answers: Sequence[Answer[int]]) -> Counts:
    asked = zip(sorted(counts), answers, strict=True)
    return {kind: counts[kind] for kind, answer in asked if not answer.take()}


class Answers:
    """What is still to come of the statements that were sent."""

    def __init__(self) -> None:
        self.written: list[Answer[set[Key]]] = []
        self.links: Answer[list[tuple[str, uuid.UUID]]] | None = None
        self.started: Answer[list[StartedTask]] | None = None
        self.counts: list[Answer[int]] = []
        self.others: list[Answer[int]] = []
        self.pairs: list[tuple[str, uuid.UUID]] = []

    def take_into(self, batch: CommitBatch) -> None:
        """Take all of them; the first that failed raises."""
        batch.written = set().union(*[answer.take() for answer in self.written])
        for answer in self.others:
            answer.take()
        self.pairs = self.links.take() if self.links else []
        batch.started = self.started.take() if self.started else []


def _send_all(batch: CommitBatch, worker_name: str) -> None:
    """What every batch writes, in one go: no statement waits for the answer to the one before."""
    answers = Answers()
    with pipeline(connection):
        answers.others += prepare(batch.lock_timeout, is_lasting=not batch.only_starts)
        answers.written = bulk.finish_all([one.update for one in batch.completions], batch.now)
        if completed := _completed(batch.completions):
            answers.links = bulk.links_from(completed)
        if rows := _progress_rows(batch):
            answers.others.append(bulk.progress_all(rows))
        if batch.guarded:
            answers.started = _start(batch, worker_name)
        # All that end here, though some may be refused: it waits for no answer either.
        counts = added(batch.owed, counts_of(batch.completions))
        answers.counts = bulk.count_endings(counts)
    answers.take_into(batch)
    refused = [one for one in batch.completions if one.key not in batch.written]
    batch.uncounted = added(_unpaid(counts, answers.counts), counts_of(refused), sign=-1)
    if ended := _ended_parents(batch, answers):
        batch.released = termination.release_children(ended, batch.now)


def prepare(lock_timeout: str, is_lasting: bool = True) -> list[Answer[int]]:
    """A row that a caller's long transaction holds must not hold up all the others.

    Only what must outlast a crash of the database waits for its disk: a start that is lost is one
    that never was, and its attempt's ending is refused by the fence.
    """
    if connection.vendor != "postgresql":
        return []
    timeout = _statement_timeout()
    return [prepare_for_rows(connection, lock_timeout, timeout, is_lasting=is_lasting)]


def _statement_timeout() -> str:
    """What hangs in the database is tried again well before a lease runs out."""
    return f"{round(max(get_settings().lease / 4, SHORTEST_TIMEOUT) * 1000)}ms"


def _completed(completions: Sequence[Completion]) -> list[str]:
    return [one.update.task_id for one in completions if one.update.outcome is Outcome.COMPLETE]


def _ended_parents(batch: CommitBatch, answers: Answers) -> dict[uuid.UUID, int]:
    """For each waiting child, how many of its parents completed in this batch."""
    if not answers.pairs:
        return {}
    completed = set(_completed(batch.recorded))
    return Counter(child for parent, child in answers.pairs if parent in completed)


def _start(batch: CommitBatch, worker_name: str) -> Answer[list[StartedTask]]:
    # In the order of ids, as everybody locks rows.
    starting = [held for held in batch.guarded if held not in batch.refused]
    granted = sorted((held.task_id, held.lease.fence) for held in starting)
    return bulk.start_all(
        granted,
        worker_name=worker_name,
        now=batch.now,
        max_recoveries=get_settings().max_recoveries,
    )


def _progress_rows(batch: CommitBatch) -> list[tuple[str, int, dict[str, Any]]]:
    reported = ((one, one.progress) for one in batch.progressed)
    rows = [(one.task_id, one.fence, progress) for one, progress in reported if progress]
    return sorted(rows, key=itemgetter(0))


def _usage_entries(recorded: Sequence[Completion], now: datetime) -> list[UsageEntry]:
    return [
        UsageEntry(
            organization_id=one.execution.row.organization_id,
            type=one.execution.row.type,
            month=f"{now:%Y-%m}",
            reason=UsageEntry.Reason.SETTLE,
            tokens=one.update.attempt_tokens,
            cost=one.update.attempt_cost,
            task_id=uuid.UUID(one.update.task_id),
        )
        for one in recorded
        if one.update.attempt_tokens or one.update.attempt_cost
    ]


def _prove(batch: CommitBatch, worker_name: str) -> None:
    """Find what the database refuses: endings fail, starts are refused, recoveries are left out.

    What is left out of recoveries the reconciler finds.
    """
    batch.completions = [_proved(one, batch, worker_name) for one in batch.completions]
    batch.refused |= {
        held
        for held in batch.guarded
        if held not in batch.refused and _refusal(batch, worker_name, guarded=[held])
    }
    batch.lost = [one for one in batch.lost if not _refusal(batch, worker_name, lost=[one])]


def _proved(one: Completion, batch: CommitBatch, worker_name: str) -> Completion:
    """The completion as it is, or failed as INVALID_RESULT when its data cannot be stored."""
    refusal = _refusal(batch, worker_name, completions=[one])
    if refusal is None:
        return one
    return invalid(one, f"The database refuses what it told: {_reason(refusal)}", batch.now)


def _reason(refusal: Exception) -> str:
    """What a tenant may read of it: further lines, and rules of tables, may tell of other rows."""
    if isinstance(refusal, DatabaseError) and not isinstance(refusal, DataError):
        return "it breaks a rule"
    return str(refusal).partition("\n")[0]


def _refusal(batch: CommitBatch, worker_name: str, **parts: Any) -> Exception | None:
    """Why the database refuses this part of the batch; None when it would take it."""
    alone = CommitBatch([], batch.now, batch.lock_timeout)
    for name, part in parts.items():
        setattr(alone, name, part)
    try:
        with transaction.atomic():
            _write_all(alone, worker_name)
            if connection.vendor == "postgresql":
                # What is checked at the end of a transaction is checked now.
                connection.check_constraints()
            transaction.set_rollback(True)
    except Exception as error:
        if not is_of_a_row(error):
            raise
        logger.warning("the database refuses one of a group commit: %s", error)
        return error
    return None
