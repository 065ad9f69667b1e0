"""One attempt in a process of its own: the child's side of `isolation`."""

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import django
from django.apps import apps
from django.db import connections

if not apps.ready:
    # The forkserver could not load it (`forkserver.py`).
    django.setup()

from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.domain import clock
from plugspace_queue.processing.execute import run_async, run_sync
from plugspace_queue.processing.execution import LONGEST_LINE, Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.processing.registry import Processor, processor_of
from plugspace_queue.worker.executors import base

BEGIN = None
"""The parent's first word, when the process is there and the attempt is still the parent's."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent hands over."""

    row: StartedTask
    timeout: float
    results: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What the child says: something new about the attempt, at last its ending."""

    tokens: int = 0
    cost: Decimal = Decimal(0)
    line: str | None = None
    percent: float | None = None
    stage: str | None = None
    result: AttemptResult | None = None
    wait: float | None = None
    """Seconds until the ending's `wake_at`: the parent has another clock."""


READY = Report()
"""The child's first word: its code is loaded, and from here on its time counts."""


@dataclass(frozen=True, slots=True)
class Word:
    """What the parent says while the attempt runs."""

    reason: StopReason
    must_stop: bool


class ReportingExecution(Execution):
    """Sends everything to the parent at once, so that it survives the child."""

    connection: Connection
    cancel: Callable[[], object] | None = None
    """Cancels its coroutine, once that runs."""

    def hear(self, word: Word) -> None:
        """The parent said why it is to stop, and whether now."""
        if not word.must_stop:
            self.stop_from = math.inf
        elif word.reason is StopReason.SHUTDOWN:
            self.stop_from = 0.0
        self.ask_to_stop(word.reason)
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

    def progress(self, execution: Execution) -> None:
        self._connection.send(Report(percent=execution.percent, stage=execution.stage))


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
    execution = ReportingExecution(
        order.row,
        timeout=order.timeout,
        sink=ReportingSink(connection),
        results=order.results,
    )
    execution.connection = connection
    threading.Thread(target=_listen, args=(connection, execution), daemon=True).start()
    result = _run(execution)
    base.end_if_forked(owner)
    connection.send(Report(result=result, wait=_wait(result)))


def _wait(result: AttemptResult) -> float | None:
    return (result.wake_at - clock.now()).total_seconds() if result.wake_at else None


def _await_word(connection: Connection) -> None:
    """While this process came its parent may have handed the task back and ended."""
    try:
        connection.send(READY)
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _run(execution: ReportingExecution) -> AttemptResult:
    entry = processor_of(execution.row.type)
    if entry is None:
        raise LookupError(f"No processor for {execution.row.type} in the child process.")
    if entry.is_async:
        return asyncio.run(_cancellable(execution, entry))
    result = run_sync(execution, entry)
    return base.fail_on_open_transaction(result, connections.all(initialized_only=True))


async def _cancellable(execution: ReportingExecution, entry: Processor) -> AttemptResult:
    task = asyncio.current_task()
    assert task is not None
    execution.cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
    # One that was asked to stop before ends here by itself.
    return await run_async(execution, entry)


def _listen(connection: Connection, execution: ReportingExecution) -> None:
    """Hear what the parent tells; without a parent there is nobody to work for."""
    try:
        while True:
            execution.hear(connection.recv())
    except (EOFError, OSError):
        os._exit(1)
