"""The one thread that writes rows: whatever queued up during the last commit goes into the next.

Rows first, then Redis: what is committed here is settled by the pump afterwards.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, transaction

from plugspace_queue import clock, events, mirrors, publishing, quotas
from plugspace_queue.conf import get_settings
from plugspace_queue.engine.store import Note
from plugspace_queue.models import Task
from plugspace_queue.processing.run import ProgressSink, Run
from plugspace_queue.rules import jsontext
from plugspace_queue.schemas.task import snapshot
from plugspace_queue.types import EventName, Outcome, State
from plugspace_queue.worker import closing, elsewhere, judge, measuring
from plugspace_queue.worker.commit import Batch, Counts, Locked, added, count, write
from plugspace_queue.worker.messages import (
    Announce,
    Guard,
    PumpMessage,
    RecorderMessage,
    Settle,
    Together,
)
from plugspace_queue.worker.table import Held
from plugspace_queue.workflows import advance

logger = logging.getLogger("plugspace_queue.worker")

BATCH = 200
"""Most messages of one commit."""

LONGEST_PAUSE = 5.0
"""Seconds between two tries while the database is away."""

COUNT_AGAIN = 1.0
"""Seconds without a message after which counts are paid that were held up."""


class Recorder(threading.Thread):
    """Takes messages, commits them in groups, hands on what follows."""

    def __init__(
        self,
        worker_name: str,
        *,
        tell: Callable[[PumpMessage], None],
        dispatch: Callable[[Held, Run], None],
        sink: ProgressSink,
        timeout_of: Callable[[Task], float],
    ) -> None:
        super().__init__(name="plugspace-recorder", daemon=True)
        self.is_healthy = True
        self._inbox: queue.SimpleQueue[RecorderMessage | None] = queue.SimpleQueue()
        self._worker_name = worker_name
        self._tell = tell
        self._dispatch = dispatch
        self._sink = sink
        self._timeout_of = timeout_of
        self._stopping = threading.Event()
        self._uncounted: Counts = {}
        self._untold: list[Settle | Announce] = []

    def put(self, message: RecorderMessage) -> None:
        """Have this written; never blocks."""
        self._inbox.put(message)

    def stop(self) -> None:
        """End when everything put so far is written."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        try:
            while not (self._stopping.is_set() and self._inbox.empty()):
                self._turn(self._collect())
            self._pay_counts(self._uncounted)
        finally:
            connection.close()

    def _turn(self, messages: list[RecorderMessage]) -> None:
        if not messages:
            # Nobody ends anything that could take them along.
            self._tolerate(self._pay_counts, self._uncounted)
            return
        try:
            self._record(Batch(messages, clock.now()))
        except Locked:
            # One that waits for a row of somebody else's long transaction holds up no other.
            self._record_apart(messages)

    def _record_apart(self, messages: list[RecorderMessage]) -> None:
        for message in _single(messages):
            try:
                self._record(Batch([message], clock.now()))
            except Locked:
                logger.warning("a row is locked for long; its message waits")
                self._inbox.put(message)

    def _collect(self) -> list[RecorderMessage]:
        messages: list[RecorderMessage | None] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=COUNT_AGAIN if self._uncounted else None))
            while len(messages) < BATCH:
                messages.append(self._inbox.get_nowait())
        return [message for message in messages if message is not None]

    def _record(self, batch: Batch) -> None:
        pause = 0.1
        while not self._is_written(batch):
            # Leases are renewed meanwhile and nothing new is taken; nothing is lost.
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self.follow_up(batch)

    def _is_written(self, batch: Batch) -> bool:
        batch.owed = self._uncounted
        try:
            write(batch, self._worker_name)
        except Locked:
            raise
        except Exception:
            logger.exception("the database refused a group commit; it is tried again")
            connection.close()
            self.is_healthy = False
            return False
        self._uncounted = batch.uncounted
        self.is_healthy = True
        return True

    def _pay_counts(self, owed: Counts) -> None:
        """Count what could not be counted while somebody else held the queue's row."""
        if owed:
            with transaction.atomic():
                rest = count(owed)
            self._uncounted = rest

    def follow_up(self, batch: Batch) -> None:
        """After the commit: start what was granted, settle what ended, tell who listens."""
        for step in (
            self._start,
            self._publish_released,
            self._settle,
            self._announce_progress,
            self._hand_over,
            self._cascade,
            self._refund,
            self._judge,
            self._hand_over,
            self._mirror_workflows,
            measuring.measure,
        ):
            self._tolerate(step, batch)

    def _hand_over(self, batch: Batch) -> None:
        # One by one they would wake the pump for the first, and the rest would come too late.
        untold, self._untold = self._untold, []
        if untold:
            messages, texts = elsewhere.parted(untold)
            self._tell(Together(messages))
            events.append(texts)

    def _tolerate(self, step: Callable[[Any], None], subject: Any) -> None:
        try:
            step(subject)
        except Exception as error:
            # The rows say what is still to do; upkeep does it. A dead recorder does nothing.
            logger.exception("%s failed after a group commit", step.__name__)
            _reconnect_after(error)

    def _publish_released(self, batch: Batch) -> None:
        if batch.released:
            publishing.publish_ids(batch.released)

    def _mirror_workflows(self, batch: Batch) -> None:
        tasks = [*batch.started, *(one.run.task for one in batch.recorded)]
        touched = {task.workflow_id for task in tasks if task.workflow_id is not None}
        if touched:
            mirrors.write_workflows(sorted(touched))

    def _cascade(self, batch: Batch) -> None:
        failed = [one.finish.id for one in batch.recorded if one.ending.state in _CASCADES]
        if failed:
            # Somebody may have retried one meanwhile: its children wait for it again.
            rows = Task.objects.filter(pk__in=failed, state__in=_CASCADES)
            advance.cascade(list(rows.values_list("pk", flat=True)), batch.now)

    def _refund(self, batch: Batch) -> None:
        # Outside the group commit: a busy usage row must not hold up everybody's endings.
        owed = [one.run.task for one in batch.recorded if _is_system_failure(one)]
        if owed:
            quotas.refund(owed, batch.now, note="system failure")

    def _start(self, batch: Batch) -> None:
        by_id = {str(task.pk): task for task in batch.started}
        notes: dict[str, list[Note]] = {}
        for held in batch.guarded:
            task = by_id.get(held.task_id)
            if task is None:
                continue
            held.run = self._run_of(task, batch)
            notes.setdefault(held.queue, []).append(self._started_note(task))
            self._dispatch(held, held.run)
        for name, told in notes.items():
            self._untold.append(Announce(name, told))

    def _run_of(self, task: Task, batch: Batch) -> Run:
        return Run(
            task=task,
            fence=task.fence,
            timeout=self._timeout_of(task),
            started_at=batch.now,
            sink=self._sink,
            results=batch.results.get(task.pk, {}),
        )

    def _started_note(self, task: Task) -> Note:
        body = events.payload(EventName.STARTED, task)
        events.tell(EventName.STARTED, task, body)
        return Note(task_id=str(task.pk), snapshot=snapshot(task), event=jsontext.encode(body))

    def _settle(self, batch: Batch) -> None:
        for one in batch.closings:
            held = batch.held[one.run]
            if not batch.is_recorded(one):
                self._untold.append(Settle(held, judge.forget(held)))
            else:
                self._settle_recorded(held, one)

    def _settle_recorded(self, held: Held, one: closing.Closing) -> None:
        closing.apply(one)
        bodies = closing.event_bodies(one)
        texts = [jsontext.encode(body) for _, body in bodies]
        if texts[:-1]:
            notes = [_event_only(one, text) for text in texts[:-1]]
            self._untold.append(Announce(held.queue, notes))
        settlement = closing.settlement_of(one, event=texts[-1] if texts else None)
        self._untold.append(Settle(held, settlement))
        for name, body in bodies:
            events.tell(name, one.run.task, body)

    def _announce_progress(self, batch: Batch) -> None:
        for run, held in batch.progressed.items():
            if run.is_recorded:
                continue
            run.task.progress = closing.progress_of(run)
            run.reports += 1
            body = events.payload(
                EventName.PROGRESS, run.task, number=run.reports, progress=run.task.progress
            )
            events.tell(EventName.PROGRESS, run.task, body)
            note = Note(run.task_id, snapshot(run.task), event=jsontext.encode(body))
            self._untold.append(Announce(held.queue, [note]))

    def _judge(self, batch: Batch) -> None:
        """Leases whose task did not start: one by one, each in its own transaction."""
        for held in batch.guarded:
            if held.run is None:
                verdict = self._verdict(held, batch)
                self._uncounted = added(self._uncounted, verdict.owed)
                self._untold.append(Settle(held, verdict.settlement, verdict.raise_fence))

    def _verdict(self, held: Held, batch: Batch) -> judge.Verdict:
        try:
            return judge.judge(held, batch.now)
        except Exception as error:
            logger.exception("a row could not be judged; its task goes back")
            _reconnect_after(error)
            return judge.Verdict(judge.hand_back(held))


def _reconnect_after(error: Exception) -> None:
    if isinstance(error, DatabaseError | InterfaceError):
        connection.close()


def _single(messages: list[RecorderMessage]) -> list[RecorderMessage]:
    """The same messages, guards taken apart into one lease each."""
    return [
        part
        for message in messages
        for part in (
            [Guard([held]) for held in message.held] if isinstance(message, Guard) else [message]
        )
    ]


def _is_system_failure(one: closing.Closing) -> bool:
    failure = one.ending.failure
    is_failed = one.ending.outcome is Outcome.FAILED
    return is_failed and failure is not None and failure.code in get_settings().refund_on


_CASCADES = frozenset({State.FAILED, State.CANCELLED})


def _event_only(one: closing.Closing, text: str) -> Note:
    return Note(one.run.task_id, None, event=text)
