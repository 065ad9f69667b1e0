"""The group commit: the rows of everything that started and ended since the last one."""

import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from django.db import DatabaseError, DataError, OperationalError, connection, transaction

from plugspace_queue.conf import get_settings
from plugspace_queue.db import bulk
from plugspace_queue.db.recordset import Answer, pipeline, prepare_for_rows
from plugspace_queue.db.transactions import is_locked, is_of_a_row
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.maintenance import rescue
from plugspace_queue.models import Task, UsageEntry
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import closing
from plugspace_queue.worker.closing import Closing
from plugspace_queue.worker.messages import Ended, Guard, Lost, Progressed, RecorderMessage
from plugspace_queue.worker.table import Held
from plugspace_queue.workflows import advance
from plugspace_queue.workflows.inputs import results_of

logger = logging.getLogger("plugspace_queue.worker")

Counts = dict[str, tuple[int, int]]
"""(completed, failed) per task type."""

LOCK_TIMEOUT = "800ms"
"""Shorter than PostgreSQL's `deadlock_timeout` (1 s): the worker, which tries again, gives way
before a caller's transaction is cancelled."""


class Batch:
    """Messages sorted by kind, and what came of them.

    `lock_timeout` is how long it waits for a row that somebody else's transaction holds.
    """

    def __init__(
        self, messages: Sequence[RecorderMessage], now: datetime, lock_timeout: str = LOCK_TIMEOUT
    ) -> None:
        self.now = now
        self.lock_timeout = lock_timeout
        self.guarded = [held for m in messages if isinstance(m, Guard) for held in m.held]
        self.lost = [reaped for m in messages if isinstance(m, Lost) for reaped in m.reaped]
        self.progressed: dict[Run, Held] = {
            m.run: m.held for m in messages if isinstance(m, Progressed)
        }
        ended = [m for m in messages if isinstance(m, Ended)]
        self.held: dict[Run, Held] = {m.run: m.held for m in ended}
        self.closings = [closing.closing_of(m.run, m.ending, now) for m in ended]
        self.owed: Counts = {}
        self.refused: set[Held] = set()
        """Leases whose start the database refuses; their tasks end without having started."""
        self.reset()

    def reset(self) -> None:
        """Forget what an attempt to commit that failed had found out."""
        self.written: set[tuple[uuid.UUID, int]] = set()
        self.released: list[uuid.UUID] = []
        self.started: list[Task] = []
        self.results: dict[uuid.UUID, dict[str, Any]] = {}
        self.uncounted: Counts = {}

    @property
    def only_starts(self) -> bool:
        """Whether it does nothing but start attempts."""
        return not (self.closings or self.lost or self.progressed)

    @property
    def recorded(self) -> list[Closing]:
        """Endings whose token still owned the task."""
        return [one for one in self.closings if self.is_recorded(one)]

    def is_recorded(self, one: Closing) -> bool:
        """By token, not by id: a batch may hold two attempts of one task."""
        return (one.finish.id, one.finish.fence) in self.written


def write(batch: Batch, worker_name: str) -> None:
    """Write the batch in one transaction; what the database refuses fails only its own task.

    Raises Locked when a row is held by somebody else for too long, Refused when its messages are
    to be written one by one, the driver's errors when the database is away: nothing was written.
    """
    try:
        _write_or_prove(batch, worker_name)
    except OperationalError as error:
        raise (Locked() if is_locked(error) else error) from error


def _write_or_prove(batch: Batch, worker_name: str) -> None:
    batch.reset()
    try:
        with _together(batch):
            _write_all(batch, worker_name)
    except Exception as error:
        if not (is_of_a_row(error) or _hides_its_reason(error, batch)):
            raise
        # Each is proved alone; progress can be told again.
        batch.reset()
        batch.progressed.clear()
        _prove(batch, worker_name)
        _write_what_is_proved(batch, worker_name)


def _hides_its_reason(error: Exception, batch: Batch) -> bool:
    """Whether it may be of a row: a pipeline's own transaction does not tell what its end refuses.

    Away for real, the database says so again at once: this connection is of no more use.
    """
    is_hidden = getattr(error.__cause__, "sqlstate", None) is None and _is_one_pipeline(batch)
    if is_hidden:
        connection.close()
    return is_hidden


def _write_what_is_proved(batch: Batch, worker_name: str) -> None:
    try:
        with transaction.atomic():
            _write_all(batch, worker_name)
    except Exception as error:
        batch.reset()
        raise (Refused() if is_of_a_row(error) else error) from error


def _together(batch: Batch) -> contextlib.AbstractContextManager[object]:
    """One transaction; for starts alone the one of a pipeline, which comes and goes by itself."""
    return contextlib.nullcontext() if _is_one_pipeline(batch) else transaction.atomic()


def _is_one_pipeline(batch: Batch) -> bool:
    return batch.only_starts and connection.vendor == "postgresql"


class Locked(Exception):
    """A row of this batch is locked; its messages are written one by one."""


class Refused(Exception):
    """The database refuses this batch, though it takes each part of it alone; nothing is written.

    Its messages are written one by one.
    """


def _write_all(batch: Batch, worker_name: str) -> None:
    _send_all(batch, worker_name)
    rescue.recover_all(batch.lost, batch.now)
    UsageEntry.objects.bulk_create(_usage_entries(batch.recorded, batch.now))
    batch.results = results_of(batch.started)


def count(counts: Counts) -> Counts:
    """Add to the lifetime counts; what could not be added now, and is still owed."""
    return _unpaid(counts, bulk.count_endings(counts))


def _unpaid(counts: Counts, answers: Sequence[Answer[int]]) -> Counts:
    asked = zip(sorted(counts), answers, strict=True)
    return {kind: counts[kind] for kind, answer in asked if not answer.take()}


def added(one: Counts, other: Counts, sign: int = 1) -> Counts:
    """The sums per type, or with -1 the differences; without those that are nothing."""
    pairs = [(kind, one.get(kind, (0, 0)), other.get(kind, (0, 0))) for kind in {*one, *other}]
    sums = {kind: (a[0] + sign * b[0], a[1] + sign * b[1]) for kind, a, b in pairs}
    return {kind: pair for kind, pair in sums.items() if any(pair)}


def _send_all(batch: Batch, worker_name: str) -> None:
    """What every turn writes, in one go: none of it waits for the answer before."""
    answers = Answers()
    with pipeline(connection):
        answers.others += prepare(batch.lock_timeout, is_lasting=not batch.only_starts)
        if batch.closings:
            answers.written = bulk.finish_all([one.finish for one in batch.closings], batch.now)
        if completed := _completed(batch.closings):
            answers.links = bulk.links_from(completed)
        if rows := _progress_rows(batch):
            answers.others.append(bulk.progress_all(rows))
        if batch.guarded:
            answers.started = _start(batch, worker_name)
        # All that end here, though some may be refused: it waits for no answer either.
        counts = added(batch.owed, _counts(batch.closings))
        answers.counts = bulk.count_endings(counts)
    answers.take_into(batch)
    refused = [one for one in batch.closings if not batch.is_recorded(one)]
    batch.uncounted = added(_unpaid(counts, answers.counts), _counts(refused), sign=-1)
    if ended := _ended_parents(batch, answers):
        batch.released = advance.release_children(ended, batch.now)


def prepare(lock_timeout: str, is_lasting: bool = True) -> list[Answer[int]]:
    """A row that a caller's long transaction holds must not hold up all the others.

    Only what must outlast a crash of the database waits for its disk: a start that is lost is one
    that never was, and its attempt's ending is refused by the fence.
    """
    if connection.vendor != "postgresql":
        return []
    return [prepare_for_rows(connection, lock_timeout, is_lasting=is_lasting)]


class Answers:
    """What is still to come of the statements that were sent."""

    def __init__(self) -> None:
        self.written: Answer[set[tuple[uuid.UUID, int]]] | None = None
        self.links: Answer[list[tuple[uuid.UUID, uuid.UUID]]] | None = None
        self.started: Answer[list[Task]] | None = None
        self.counts: list[Answer[int]] = []
        self.others: list[Answer[int]] = []
        self.pairs: list[tuple[uuid.UUID, uuid.UUID]] = []

    def take_into(self, batch: Batch) -> None:
        """Take all of them; the first that failed raises."""
        batch.written = self.written.take() if self.written else set()
        for answer in self.others:
            answer.take()
        self.pairs = self.links.take() if self.links else []
        batch.started = self.started.take() if self.started else []


def _completed(closings: Sequence[Closing]) -> list[uuid.UUID]:
    return [one.finish.id for one in closings if one.ending.outcome is Outcome.COMPLETE]


def _ended_parents(batch: Batch, answers: Answers) -> dict[uuid.UUID, int]:
    """For each waiting child, how many of its parents completed in this batch."""
    completed = set(_completed(batch.recorded))
    return Counter(child for parent, child in answers.pairs if parent in completed)


def _start(batch: Batch, worker_name: str) -> Answer[list[Task]]:
    # In the order of ids, as everybody locks rows.
    starting = [held for held in batch.guarded if held not in batch.refused]
    granted = sorted((held.id, held.lease.fence) for held in starting if held.id)
    return bulk.start_all(
        granted,
        worker_name=worker_name,
        now=batch.now,
        max_recoveries=get_settings().max_recoveries,
    )


def _progress_rows(batch: Batch) -> list[tuple[uuid.UUID, int, dict[str, Any]]]:
    told = ((run, closing.progress_of(run)) for run in batch.progressed)
    rows = [(run.task.pk, run.fence, progress) for run, progress in told if progress]
    return sorted(rows, key=itemgetter(0))


def _usage_entries(recorded: Sequence[Closing], now: datetime) -> list[UsageEntry]:
    return [
        UsageEntry(
            organization_id=one.run.task.organization_id,
            type=one.run.task.type,
            month=f"{now:%Y-%m}",
            reason=UsageEntry.Reason.SETTLE,
            tokens=one.run.tokens,
            cost=one.run.cost,
            task_id=one.run.task.pk,
        )
        for one in recorded
        if one.run.tokens or one.run.cost
    ]


def _counts(recorded: Sequence[Closing]) -> Counts:
    """(completed, failed) per task type."""
    completed = Counter(o.run.task.type for o in recorded if o.ending.outcome is Outcome.COMPLETE)
    failed = Counter(o.run.task.type for o in recorded if o.ending.outcome is Outcome.FAILED)
    return {kind: (completed[kind], failed[kind]) for kind in completed.keys() | failed.keys()}


def _prove(batch: Batch, worker_name: str) -> None:
    """Find what the database refuses: endings fail, starts are refused, recoveries are left out.

    What is left out of recoveries the reconciler finds.
    """
    batch.closings = [_proved(one, batch, worker_name) for one in batch.closings]
    batch.refused |= {
        held
        for held in batch.guarded
        if held not in batch.refused and _refusal(batch, worker_name, guarded=[held])
    }
    batch.lost = [one for one in batch.lost if not _refusal(batch, worker_name, lost=[one])]


def _proved(one: Closing, batch: Batch, worker_name: str) -> Closing:
    """The closing as it is, or failed as INVALID_RESULT when its data cannot be stored."""
    refusal = _refusal(batch, worker_name, closings=[one])
    if refusal is None:
        return one
    return closing.invalid(one, f"The database refuses what it told: {_reason(refusal)}", batch.now)


def _reason(refusal: Exception) -> str:
    """What a tenant may read of it: further lines, and rules of tables, may tell of other rows."""
    if isinstance(refusal, DatabaseError) and not isinstance(refusal, DataError):
        return "it breaks a rule"
    return str(refusal).partition("\n")[0]


def _refusal(batch: Batch, worker_name: str, **parts: Any) -> Exception | None:
    """Why the database refuses this part of the batch; None when it would take it."""
    alone = Batch([], batch.now, batch.lock_timeout)
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
