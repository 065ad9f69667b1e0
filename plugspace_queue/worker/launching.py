"""Starts come first: in commits of their own, and to their slots before all else that follows.

Somebody waits for a task's first line; nobody is kept waiting by an ending that is written a
millisecond later.
"""

import logging
from collections.abc import Callable, Sequence

from plugspace_queue.models import Task
from plugspace_queue.processing.run import ProgressSink, Run, Told
from plugspace_queue.worker.commit import Batch
from plugspace_queue.worker.messages import Ended, Guard, RecorderMessage
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")


def starts_first(messages: Sequence[RecorderMessage]) -> list[list[RecorderMessage]]:
    """What is to be written, as one commit of starts alone and one of the rest.

    All together when one is to start whose earlier attempt ends here: its ending is written first.
    """
    starts: list[RecorderMessage] = [one for one in messages if isinstance(one, Guard)]
    rest: list[RecorderMessage] = [one for one in messages if not isinstance(one, Guard)]
    if _starting(messages) & _ending(messages):
        return [list(messages)]
    return [part for part in (starts, rest) if part]


def _starting(messages: Sequence[RecorderMessage]) -> set[str]:
    return {held.task_id for one in messages if isinstance(one, Guard) for held in one.held}


def _ending(messages: Sequence[RecorderMessage]) -> set[str]:
    return {one.held.task_id for one in messages if isinstance(one, Ended)}


class Launcher:
    """Makes a run of each lease whose row is `processing` now, and hands it to a slot."""

    def __init__(
        self,
        *,
        dispatch: Callable[[Held, Run], None],
        sink: ProgressSink,
        timeout_of: Callable[[Task], float],
    ) -> None:
        self._dispatch = dispatch
        self._sink = sink
        self._timeout_of = timeout_of

    def launch(self, batch: Batch) -> None:
        """Start what the batch has started; never raises. The others stay without a run."""
        if not batch.started:
            return
        # By token, not by id alone: a batch may hold two leases of one task.
        by_token = {(str(task.pk), task.fence): task for task in batch.started}
        for held in batch.guarded:
            if task := by_token.get((held.task_id, held.lease.fence)):
                self._start(held, task, batch)

    def _start(self, held: Held, task: Task, batch: Batch) -> None:
        try:
            held.run = run = self._run_of(task, batch)
            if held.is_stop_asked:
                run.tell(Told.CANCEL)
            self._dispatch(held, run)
        except Exception:
            logger.exception("%s could not be started; it goes back", held.task_id)
            # Its row is judged by what follows: nothing has run.
            held.run = None

    def _run_of(self, task: Task, batch: Batch) -> Run:
        return Run(
            task=task,
            fence=task.fence,
            timeout=self._timeout_of(task),
            started_at=batch.now,
            sink=self._sink,
            results=batch.results.get(task.pk, {}),
        )
