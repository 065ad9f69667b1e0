"""The first thing after a commit: what it started goes to its slots, in the recorder's own thread.

Somebody waits for its first line; what else follows a commit can wait.
"""

import logging
from collections.abc import Callable

from plugspace_queue.models import Task
from plugspace_queue.processing.run import ProgressSink, Run
from plugspace_queue.worker.commit import Batch
from plugspace_queue.worker.table import Held

logger = logging.getLogger("plugspace_queue.worker")


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
        by_id = {task.pk: task for task in batch.started}
        for held in batch.guarded:
            if held.id in by_id:
                self._start(held, by_id[held.id], batch)

    def _start(self, held: Held, task: Task, batch: Batch) -> None:
        try:
            held.run = self._run_of(task, batch)
            self._dispatch(held, held.run)
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
