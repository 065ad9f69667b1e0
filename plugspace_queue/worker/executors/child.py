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
from plugspace_queue.processing.registry import Processor, load_processors, processor_of
from plugspace_queue.services.step_inputs import Results
from plugspace_queue.worker.executors import base

BEGIN = None
"""The parent's first message: the process is up and the attempt still belongs to the parent."""


@dataclass(frozen=True, slots=True)
class Order:
    """The data of the attempt that the parent passes to the child."""

    row: StartedTask
    timeout: float
    results: Results


@dataclass(frozen=True, slots=True)
class ChildMessage:
    """A message from the child: usage, log line or progress, and at the end the result."""

    tokens: int = 0
    cost: Decimal = Decimal(0)
    line: str | None = None
    percent: float | None = None
    stage: str | None = None
    result: AttemptResult | None = None
    wait: float | None = None
    """Seconds until the result's `wake_at`, as the parent's clock may differ."""


READY = ChildMessage()
"""The child's first message: its code is loaded, and the attempt's timeout starts."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A message from the parent while the attempt runs: why to stop, and whether now."""

    reason: StopReason
    must_stop: bool


class ReportingExecution(Execution):
    """Sends every report to the parent at once, so that it survives a crash of the child."""

    connection: Connection
    cancel: Callable[[], object] | None = None
    """Cancels the coroutine; set once it runs."""

    def apply(self, request: StopRequest) -> None:
        """Apply the parent's request to stop."""
        if not request.must_stop:
            self.stop_from = math.inf
        elif request.reason is StopReason.SHUTDOWN:
            self.stop_from = 0.0
        self.ask_to_stop(request.reason)
        if self.must_stop and not self.is_cancelled and self.cancel is not None:
            self.is_cancelled = True
            self.cancel()

    def add_log(self, message: str) -> None:
        self.connection.send(ChildMessage(line=str(message)[:LONGEST_LINE]))

    def add_usage(self, tokens: int, cost: Decimal) -> None:
        # Validated here, so that the processor gets the ValueError as it does in a thread.
        super().add_usage(tokens, cost)
        self.connection.send(ChildMessage(tokens=tokens, cost=cost))


class ReportingSink:
    """Sends progress to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def progress(self, execution: Execution) -> None:
        self._connection.send(ChildMessage(percent=execution.percent, stage=execution.stage))


def main(connection: Connection, order: Order) -> None:
    """Entry point of the child process; only its parent ends it.

    The child leads its own session and ignores SIGTERM and SIGINT. On Ctrl-C, or a signal to the
    service's process group, the parent asks the attempt to stop and hands it back.
    """
    owner = os.getpid()
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before the attempt's time begins, as loading the code of the host may take long.
    load_processors()
    _await_begin(connection)
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
    connection.send(ChildMessage(result=result, wait=_wait(result)))


def _wait(result: AttemptResult) -> float | None:
    return (result.wake_at - clock.now()).total_seconds() if result.wake_at else None


def _await_begin(connection: Connection) -> None:
    """Wait for BEGIN; end if the parent handed the task back while this process started."""
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
    # If a stop arrived before `cancel` was set, `run_async` notices it and ends at once.
    return await run_async(execution, entry)


def _listen(connection: Connection, execution: ReportingExecution) -> None:
    """Receive the parent's messages; exit when the parent is gone, as nothing could be recorded."""
    try:
        while True:
            execution.apply(connection.recv())
    except (EOFError, OSError):
        os._exit(1)
