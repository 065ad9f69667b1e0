"""The group commit: writes the rows of all attempts that started or ended since the last one."""

import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from django.db import OperationalError, connection, transaction

from plugspace_queue.broker.task_store import Note
from plugspace_queue.conf import get_settings
from plugspace_queue.db import bulk
from plugspace_queue.db.attempts import Key, StartedTask
from plugspace_queue.db.recordset import Answer, pipeline, prepare_for_rows
from plugspace_queue.db.transactions import is_locked, is_of_a_row, is_too_slow
from plugspace_queue.domain.enums import EventName
from plugspace_queue.maintenance import rescue
from plugspace_queue.models import Task, UsageEntry
from plugspace_queue.processing.execution import Execution
from plugspace_queue.services import termination
from plugspace_queue.services.step_inputs import Results, results_of
from plugspace_queue.worker.completion import (
    Completion,
    Counts,
    added,
    completed_tasks,
    completion_of,
    counts_of,
    invalid,
    missed_steps,
    reason_of,
    usage_entries,
)
from plugspace_queue.worker.state import Ended, Guard, HeldLease, Lost, Progressed, RowMessage

logger = logging.getLogger("plugspace_queue.worker")

LOCK_TIMEOUT = "800ms"
"""Shorter than PostgreSQL's `deadlock_timeout` (1 s): the worker, which retries, times out before
PostgreSQL cancels a caller's transaction."""


SHORTEST_TIMEOUT = 2.0
"""Lower bound in seconds of the statement timeout, however short a lease is."""

LONGEST_TIMEOUT = 600.0
"""The same at most, for a message that took too long alone."""


class CommitBatch:
    """The messages of one commit sorted by kind, and the results of writing them.

    `lock_timeout` is how long it waits for a row that another transaction has locked,
    `statement_timeout` how many seconds one of its statements may take.
    """

    def __init__(
        self, messages: Sequence[RowMessage], now: datetime, lock_timeout: str = LOCK_TIMEOUT
    ) -> None:
        self.now = now
        self.lock_timeout = lock_timeout
        # What hangs in the database is tried again well before a lease runs out.
        self.statement_timeout = max(get_settings().lease / 4, SHORTEST_TIMEOUT)
        self.guarded = [held for m in messages if isinstance(m, Guard) for held in m.held]
        self.lost = [reaped for m in messages if isinstance(m, Lost) for reaped in m.reaped]
        self.progressed: dict[Execution, HeldLease] = {
            m.execution: m.held for m in messages if isinstance(m, Progressed)
        }
        ended = [m for m in messages if isinstance(m, Ended)]
        self.completions = [completion_of(*message, now) for message in ended]
        self.owed: Counts = {}
        self.refused: set[HeldLease] = set()
        """Leases whose start the database rejects; their tasks end without having started."""
        self.signals: list[tuple[EventName, Callable[[], Task], str]] = []
        """Signals to send after the commit: name, task and payload as JSON."""
        self.elsewhere: list[Note] = []
        """Events of queues that are not on the event stream's Redis server."""
        self.unsettled: list[HeldLease] = []
        """Leases whose ending this commit did not write, or whose settlement cannot be rendered."""
        self.reset()

    def reset(self) -> None:
        """Discard the results of a commit that failed."""
        self.written: set[Key] = set()
        self.released: list[uuid.UUID] = []
        self.recovered: list[rescue.Loss] = []
        self.started: list[StartedTask] = []
        self.results: dict[str, Results] = {}
        self.uncounted: Counts = {}

    @property
    def only_starts(self) -> bool:
        """Whether the batch only starts attempts."""
        return not (self.completions or self.lost or self.progressed)

    @property
    def is_of_many(self) -> bool:
        """Whether it can be written in smaller parts."""
        others = len(self.lost) + len(self.progressed) + len(self.completions)
        return len(self.guarded) + others > 1

    @property
    def recorded(self) -> list[Completion]:
        """Endings whose fence still owned the task."""
        # By id and fence: a batch may hold two attempts of one task.
        return [one for one in self.completions if one.key in self.written]

    @property
    def unstarted(self) -> list[HeldLease]:
        """Leases whose rows did not let an attempt start."""
        return [held for held in self.guarded if held.execution is None]


class Locked(Exception):
    """A row of this batch is locked; the caller writes its messages one by one."""


class Refused(Exception):
    """The database rejects this batch although it accepts each part alone; nothing was written.

    The caller writes its messages one by one.
    """


def write(batch: CommitBatch, worker_name: str) -> None:
    """Write the batch in one transaction; data that the database rejects fails only its own task.

    Raises Locked when a row is locked for too long, Refused when the messages have to be written
    one by one, and the driver's errors when the database is unavailable. Nothing was written then.
    """
    try:
        _write_or_prove(batch, worker_name)
    except OperationalError as error:
        if is_too_slow(error):
            _allow_more(batch, error)
        raise (Locked() if is_locked(error) else error) from error


def _allow_more(batch: CommitBatch, error: OperationalError) -> None:
    """With the same messages in the same time the next try would come no further."""
    if batch.is_of_many:
        logger.warning("a group commit takes too long; its messages are written one by one")
        raise Refused from error
    batch.statement_timeout = min(batch.statement_timeout * 2, LONGEST_TIMEOUT)


def _write_or_prove(batch: CommitBatch, worker_name: str) -> None:
    batch.reset()
    try:
        with _together(batch):
            _write_all(batch, worker_name)
    except Exception as error:
        if not (is_of_a_row(error) or _hides_its_reason(error, batch)):
            raise
        # Each part is tried alone. Progress is dropped: it will be reported again.
        batch.reset()
        batch.progressed.clear()
        _prove(batch, worker_name)
        _write_what_is_proved(batch, worker_name)


def _hides_its_reason(error: Exception, batch: CommitBatch) -> bool:
    """Whether a row may have caused the error although it has no SQLSTATE.

    A pipeline's implicit transaction does not report why its end failed. The connection is closed:
    if the database is really unavailable, the next statement fails at once.
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
    """A transaction; nothing for starts alone, as a pipeline has an implicit transaction."""
    return contextlib.nullcontext() if _is_one_pipeline(batch) else transaction.atomic()


def _is_one_pipeline(batch: CommitBatch) -> bool:
    return batch.only_starts and connection.vendor == "postgresql"


def _write_all(batch: CommitBatch, worker_name: str) -> None:
    _send_all(batch, worker_name)
    batch.recovered = rescue.take_all_back(batch.lost, batch.now)
    if entries := usage_entries(batch.recorded, batch.now):
        UsageEntry.objects.bulk_create(entries)
    batch.results = _results_of_parents(batch.started)


def _results_of_parents(started: Sequence[StartedTask]) -> dict[str, Results]:
    """By task id, for the few that have parents."""
    tasks = [row.as_task() for row in started if row.workflow_id or not row.is_first]
    return {str(pk): results for pk, results in results_of(tasks).items()} if tasks else {}


def count(counts: Counts) -> Counts:
    """Add to the lifetime counts; return those that could not be added because of a lock."""
    return _unpaid(counts, bulk.count_endings(counts))


def _unpaid(counts: Counts, answers: Sequence[Answer[int]]) -> Counts:
    asked = zip(sorted(counts), answers, strict=True)
    return {kind: counts[kind] for kind, answer in asked if not answer.take()}


class Answers:
    """Pending answers of the statements that were sent in the pipeline."""

    def __init__(self) -> None:
        self.written: list[Answer[set[Key]]] = []
        self.links: list[Answer[list[tuple[str, uuid.UUID]]]] = []
        self.started: Answer[list[StartedTask]] | None = None
        self.counts: list[Answer[int]] = []
        self.others: list[Answer[int]] = []
        self.pairs: list[tuple[str, uuid.UUID]] = []

    def take_into(self, batch: CommitBatch) -> None:
        """Read all answers into the batch; the first that failed raises."""
        batch.written = set().union(*[answer.take() for answer in self.written])
        for answer in self.others:
            answer.take()
        self.pairs = [pair for answer in self.links for pair in answer.take()]
        batch.started = self.started.take() if self.started else []


def _send_all(batch: CommitBatch, worker_name: str) -> None:
    """Send all statements of the batch in one pipeline, without waiting for single answers."""
    answers = Answers()
    with pipeline(connection):
        answers.others += _prepare(batch)
        answers.written = bulk.finish_all([one.update for one in batch.completions], batch.now)
        if completed := completed_tasks(batch.completions):
            answers.links.append(bulk.links_from(completed))
        if missed := missed_steps(batch.completions):
            answers.links.append(bulk.step_links_from(missed))
        if rows := _progress_rows(batch):
            answers.others.append(bulk.progress_all(rows))
        if batch.guarded:
            answers.started = _start(batch, worker_name)
        # Counts every ending of the batch, as the answers are not known yet. Those that turn out
        # to be refused are subtracted below.
        counts = added(batch.owed, counts_of(batch.completions))
        answers.counts = bulk.count_endings(counts)
    answers.take_into(batch)
    refused = [one for one in batch.completions if one.key not in batch.written]
    batch.uncounted = added(_unpaid(counts, answers.counts), counts_of(refused), sign=-1)
    if ended := _ended_parents(batch, answers):
        batch.released = termination.release_children(ended, batch.now)


def _prepare(batch: CommitBatch) -> list[Answer[int]]:
    """A row that a caller's long transaction holds must not hold up all the others.

    Only data that must survive a crash of the database waits for its disk. Losing a start is
    harmless: the fence refuses the ending of its attempt.
    """
    if connection.vendor != "postgresql":
        return []
    is_lasting = not batch.only_starts
    timeout = f"{round(batch.statement_timeout * 1000)}ms"
    return [prepare_for_rows(connection, batch.lock_timeout, timeout, is_lasting=is_lasting)]


def _ended_parents(batch: CommitBatch, answers: Answers) -> dict[uuid.UUID, int]:
    """For each waiting child, how many of its parents stopped holding it in this batch."""
    if not answers.pairs:
        return {}
    passed = {*completed_tasks(batch.recorded), *missed_steps(batch.recorded)}
    return Counter(child for parent, child in answers.pairs if parent in passed)


def _start(batch: CommitBatch, worker_name: str) -> Answer[list[StartedTask]]:
    # Ordered by id, the lock order of all code, to avoid deadlocks.
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


def _prove(batch: CommitBatch, worker_name: str) -> None:
    """Find the parts that the database rejects: endings become failures, starts are refused.

    Rejected recoveries are left out; the reconciler finds them later.
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
    return invalid(one, f"The database rejects the result: {reason_of(refusal)}", batch.now)


def _refusal(batch: CommitBatch, worker_name: str, **parts: Any) -> Exception | None:
    """The error with which the database rejects this part of the batch; None when it accepts it."""
    alone = CommitBatch([], batch.now, batch.lock_timeout)
    alone.statement_timeout = batch.statement_timeout
    for name, part in parts.items():
        setattr(alone, name, part)
    try:
        with transaction.atomic():
            _write_all(alone, worker_name)
            if connection.vendor == "postgresql":
                # Deferred constraints are otherwise checked at the commit, which never comes here.
                connection.check_constraints()
            transaction.set_rollback(True)
    except Exception as error:
        if not is_of_a_row(error):
            raise
        logger.warning("the database refuses one of a group commit: %s", error)
        return error
    return None
