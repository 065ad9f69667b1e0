"""What follows a group commit: tell what started, settle what ended, tell who listens.

All of it is safe to lose: the rows say what is still to do, and upkeep does it.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from plugspace_queue import mirrors, publishing, quotas
from plugspace_queue.broker.task_store import Note
from plugspace_queue.conf import get_settings
from plugspace_queue.db.transactions import LOOK, is_of_a_row, lock_timeout
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName, Outcome, State
from plugspace_queue.events import publish
from plugspace_queue.models import Task
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import closing, elsewhere, judge, measuring, reporting
from plugspace_queue.worker.commit import Batch, Counts, added
from plugspace_queue.worker.messages import Announce, PumpMessage, Settle, Together
from plugspace_queue.worker.table import Held
from plugspace_queue.workflows import advance

logger = logging.getLogger("plugspace_queue.worker")

SHORT_LOOK = "20ms"
"""How long a step waits for a row that somebody holds, when one before it did in vain."""


class FollowUp:
    """The steps after a commit, in the follower's thread; one that fails keeps no other."""

    def __init__(self, tell: Callable[[PumpMessage], None]) -> None:
        self._tell = tell
        self._untold: list[Settle | Announce] = []
        self._owed: Counts = {}
        self._look = LOOK

    def run(self, batch: Batch) -> None:
        """After the commit and its launch: tell what started, settle what ended."""
        self._look = LOOK
        for step in (
            self._tell_starts,
            self._publish_released,
            self._settle,
            self._announce_progress,
            self._hand_over,
            self._report,
            self._cascade,
            self._refund,
            self._judge,
            self._hand_over,
            self._mirror_workflows,
            measuring.measure,
        ):
            tolerate(step, batch)

    def take_owed(self) -> Counts:
        """Counts that verdicts could not add, for the next commit to pay."""
        owed, self._owed = self._owed, {}
        return owed

    def _hand_over(self, batch: Batch) -> None:
        # One by one they would wake the pump for the first, and the rest would come too late.
        untold, self._untold = self._untold, []
        if untold:
            messages, notes = elsewhere.parted(untold)
            self._tell(Together(messages))
            publish.append(notes)

    def _publish_released(self, batch: Batch) -> None:
        if batch.released:
            publishing.publish_ids(batch.released)

    def _mirror_workflows(self, batch: Batch) -> None:
        tasks = [*batch.started, *(one.run.task for one in batch.closings)]
        touched = {task.workflow_id for task in tasks if task.workflow_id is not None}
        if touched:
            mirrors.write_workflows(sorted(touched))

    def _cascade(self, batch: Batch) -> None:
        failed = [one.finish.id for one in batch.recorded if one.ending.state in _CASCADES]
        if failed:
            # Somebody may have retried one meanwhile: its children wait for it again.
            rows = Task.objects.filter(pk__in=failed, state__in=_CASCADES)
            with self._shortly():
                advance.cascade(list(rows.values_list("pk", flat=True)), batch.now)

    def _refund(self, batch: Batch) -> None:
        # Outside the group commit: a busy usage row must not hold up everybody's endings.
        owed = [one.run.task for one in batch.recorded if _is_system_failure(one)]
        if owed:
            with self._shortly():
                quotas.refund(owed, batch.now, note="system failure")

    def _report(self, batch: Batch) -> None:
        reporting.changes_of(batch)
        for one in reporting.to_tell(batch):
            tolerate(reporting.tell, one)

    def _tell_starts(self, batch: Batch) -> None:
        notes: dict[str, list[Note]] = {}
        for held in batch.guarded:
            if held.run is not None:
                notes.setdefault(held.queue, []).append(_started_note(held.run))
        for name, told in notes.items():
            self._untold.append(Announce(name, told))

    def _settle(self, batch: Batch) -> None:
        for one in batch.closings:
            held = batch.held[one.run]
            try:
                self._untold += self._told_of(held, one, batch)
            except Exception:
                # The others of its batch are settled all the same, and for this one its row speaks.
                logger.exception("what %s came to cannot be told; its row is judged", held.task_id)
                self._untold.append(self._judged(held, batch))

    def _told_of(self, held: Held, one: closing.Closing, batch: Batch) -> list[Settle | Announce]:
        if not batch.is_recorded(one):
            # It belongs to somebody else by now, or is written already: the answer of a commit got
            # lost, and it was made again.
            return [self._judged(held, batch)]
        closing.apply(one)
        bodies = closing.event_bodies(one)
        settlement = closing.settlement_of(one)
        texts = [publish.text_for(settlement, body) for _, body in bodies]
        settlement = settlement._replace(event=texts[-1] if texts else None)
        notes = [_event_only(one, text) for text in texts[:-1]]
        for name, body in bodies:
            publish.tell(name, one.run.task, body)
        return [*([Announce(held.queue, notes)] if notes else []), Settle(held, settlement)]

    def _announce_progress(self, batch: Batch) -> None:
        for run, held in batch.progressed.items():
            if run.is_recorded:
                continue
            run.task.progress = closing.progress_of(run)
            run.reports += 1
            body = publish.payload(
                EventName.PROGRESS, run.task, number=run.reports, progress=run.task.progress
            )
            publish.tell(EventName.PROGRESS, run.task, body)
            note = publishing.note_of(run.task, event=json_text.encode(body), is_bound=True)
            self._untold.append(Announce(held.queue, [note]))

    def _judge(self, batch: Batch) -> None:
        """Leases whose task did not start: one by one, each in its own transaction."""
        for held in batch.guarded:
            if held.run is None:
                self._untold.append(self._judged(held, batch))

    def _judged(self, held: Held, batch: Batch) -> Settle:
        verdict = self._verdict(held, batch)
        self._owed = added(self._owed, verdict.owed)
        return Settle(held, verdict.settlement, verdict.bump_fence)

    def _verdict(self, held: Held, batch: Batch) -> judge.Verdict:
        try:
            with self._shortly():
                judged = judge.refused if held in batch.refused else judge.judge
                return judged(held, batch.now)
        except Exception as error:
            logger.exception("a row could not be judged; its task goes back")
            _reconnect_after(error)
            if is_of_a_row(error):
                return judge.Verdict(judge.hand_back_later(held, batch.now))
            return judge.Verdict(judge.hand_back(held))

    @contextlib.contextmanager
    def _shortly(self) -> Iterator[None]:
        """One transaction that does not wait long for a row; upkeep does what it could not.

        Somebody's long transaction would hold up everything this worker settles: it may
        hold the rows of many, as a caller's that submits holds its organization's usage.
        """
        try:
            with lock_timeout(self._look):
                yield
        except OperationalError:
            self._look = SHORT_LOOK
            raise


def tolerate(step: Callable[[Any], None], subject: Any) -> None:
    """Log what a step raises: the rows say what is still to do. A dead recorder does nothing."""
    try:
        step(subject)
    except Exception as error:
        logger.exception("%s failed after a group commit", step.__name__)
        _reconnect_after(error)


def _reconnect_after(error: Exception) -> None:
    if isinstance(error, DatabaseError | InterfaceError):
        connection.close()


def _is_system_failure(one: closing.Closing) -> bool:
    failure = one.ending.failure
    is_failed = one.ending.outcome is Outcome.FAILED
    return is_failed and failure is not None and failure.code in get_settings().refund_on


_CASCADES = frozenset({State.FAILED, State.CANCELLED})


def _started_note(run: Run) -> Note:
    task = run.task
    body = publish.payload(EventName.STARTED, task) | {"at": run.started_at.isoformat()}
    publish.tell(EventName.STARTED, task, body)
    # Of one that has ended already the settle tells, with its ending, in a moment; should the
    # commit of that be held up, Redis shows the task as waiting until then.
    event = json_text.encode(body)
    return (
        Note(body["jobId"], event=event)
        if run.is_recorded
        else publishing.note_of(task, event=event)
    )


def _event_only(one: closing.Closing, text: str) -> Note:
    return Note(one.run.task_id, None, event=text)
