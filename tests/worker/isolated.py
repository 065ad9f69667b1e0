"""Attempts in processes of their own, in this process: started, ended, asked where they ran."""

import json
import multiprocessing
import os
import signal
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from plugspace_queue.broker.task_store import Lease
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.models import Task
from plugspace_queue.processing import registry
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.worker.executors import child
from plugspace_queue.worker.executors import forkserver as children_forkserver
from plugspace_queue.worker.executors.processes import ProcessExecutor
from plugspace_queue.worker.state import HeldLease
from tests.support import wait_until
from tests.worker.conftest import Silent, row_of, submit

alone = pytest.mark.parametrize("children", ["tests.processes.alone_settings"], indirect=True)
"""With a processor in the children that tells where its code was loaded."""


def execution_of(task: Task) -> Execution:
    return Execution(row_of(task, fence=1), timeout=60.0, sink=Silent())


def slots_for(ended: list[AttemptResult], back: list[Execution] | None = None) -> ProcessExecutor:
    """Slots that say how attempts ended, and which of them went back before."""
    handed_back = [] if back is None else back
    return ProcessExecutor(
        lambda held, result: ended.append(result),
        lambda held, execution: handed_back.append(execution),
    )


def start(slots: ProcessExecutor, execution: Execution) -> None:
    entry = registry.processor_of("ANALYZE")
    assert entry is not None
    lease = Lease(str(execution.task_id), 1, "e", "acme", 0)
    slots.start(HeldLease("analyze", lease), execution, entry)


def result_of(execution: Execution) -> AttemptResult:
    """How an attempt in a process of its own ends; looked after as by a worker's ticker."""
    ended: list[AttemptResult] = []
    slots = slots_for(ended)
    start(slots, execution)

    def has_ended() -> bool:
        slots.check()
        return bool(ended)

    wait_until(has_ended, 60)
    return ended[0]


def analysis(step: str = "tell") -> Execution:
    """A run of the isolated processor of `tests.processes.alone`."""
    return execution_of(submit("ANALYZE", input={"url": f"https://example.com/{step}"}))


def value(result: AttemptResult) -> Any:
    """What the processor returned."""
    return json.loads(result.result_text or "null")


def is_loaded_before(result: AttemptResult) -> bool:
    assert result.outcome is Outcome.COMPLETE, result
    return bool(value(result)["loaded_in"] == value(result)["parent"])


def forkserver_pid() -> int:
    return int(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]


def end_forkserver() -> None:
    """Kill the forkserver; nobody has taken its exit status yet."""
    pid = forkserver_pid()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def child_of(execution: Execution) -> tuple[BaseProcess, Connection]:
    """A child process, and its parent's end of the line."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    children_forkserver.ensure_ready()
    order = child.Order(execution.row, execution.timeout, execution.results)
    process = context.Process(target=child.main, args=(theirs, order), daemon=True)
    process.start()
    theirs.close()
    return process, ours
