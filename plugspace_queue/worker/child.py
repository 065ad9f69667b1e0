"""One attempt in a process of its own: the child's side of `isolation`."""

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import django
from django.apps import apps

if not apps.ready:
    # The forkserver could not load it (`forkserver.py`).
    django.setup()

from plugspace_queue.domain import clock
from plugspace_queue.models import Task
from plugspace_queue.processing.attempt import run_async, run_sync
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor, processor_of
from plugspace_queue.processing.run import LONGEST_LINE, Run, Told
from plugspace_queue.worker import tidying

BEGIN = None
"""The parent's first word, when the process is there and the attempt is still the parent's."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent hands over."""

    task: Task
    fence: int
    timeout: float
    started_at: datetime
    results: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What the child says: something new about the attempt, at last its ending."""

    tokens: int = 0
    cost: Decimal = Decimal(0)
    line: str | None = None
    percent: float | None = None
    stage: str | None = None
    ending: Ending | None = None
    wait: float | None = None
    """Seconds until the ending's `wake_at`: the parent has another clock."""


READY = Report()
"""The child's first word: its code is loaded, and from here on its time counts."""


@dataclass(frozen=True, slots=True)
class Word:
    """What the parent says while the attempt runs."""

    told: Told
    must_stop: bool


class ReportingRun(Run):
    """A run whose every word goes to the parent at once, so that it survives the child."""

    connection: Connection
    cancel: Callable[[], object] | None = None
    """Cancels its coroutine, once that runs."""

    def hear(self, word: Word) -> None:
        """The parent said why it is to stop, and whether now."""
        if not word.must_stop:
            self.stop_from = math.inf
        elif word.told is Told.SHUTDOWN:
            self.stop_from = 0.0
        self.tell(word.told)
        if self.must_stop and not self.is_cancelled and self.cancel is not None:
            self.is_cancelled = True
            self.cancel()

    def add_log(self, message: str) -> None:
        self.connection.send(Report(line=str(message)[:LONGEST_LINE]))

    def add_usage(self, tokens: int, cost: Decimal) -> None:
        # Refused here, as in a thread: the parent would only hear of it.
        super().add_usage(tokens, cost)
        self.connection.send(Report(tokens=tokens, cost=cost))


class ReportingSink:
    """Sends progress to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def progress(self, run: Run) -> None:
        self._connection.send(Report(percent=run.percent, stage=run.stage))


def main(connection: Connection, order: Order) -> None:
    """Entry of the child process; only its parent ends it.

    A session of its own: Ctrl-C on the terminal and a signal to the service's whole group are the
    parent's business, which tells the attempt and hands it back.
    """
    owner = os.getpid()
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _await_word(connection)
    run = ReportingRun(
        task=order.task,
        fence=order.fence,
        timeout=order.timeout,
        started_at=order.started_at,
        sink=ReportingSink(connection),
        results=order.results,
    )
    run.connection = connection
    threading.Thread(target=_listen, args=(connection, run), daemon=True).start()
    ending = _ending(run)
    tidying.end_if_forked(owner)
    connection.send(Report(ending=ending, wait=_wait(ending)))


def _wait(ending: Ending) -> float | None:
    return (ending.wake_at - clock.now()).total_seconds() if ending.wake_at else None


def _await_word(connection: Connection) -> None:
    """While this process came its parent may have handed the task back and ended."""
    try:
        connection.send(READY)
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _ending(run: ReportingRun) -> Ending:
    entry = processor_of(run.task.type)
    if entry is None:
        raise LookupError(f"No processor for {run.task.type} in the child process.")
    if entry.is_async:
        return asyncio.run(_cancellable(run, entry))
    return tidying.honest(run_sync(run, entry))


async def _cancellable(run: ReportingRun, entry: Processor) -> Ending:
    task = asyncio.current_task()
    assert task is not None
    run.cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
    # One that was told before ends here by itself.
    return await run_async(run, entry)


def _listen(connection: Connection, run: ReportingRun) -> None:
    """Hear what the parent tells; without a parent there is nobody to work for."""
    try:
        while True:
            run.hear(connection.recv())
    except (EOFError, OSError):
        os._exit(1)
