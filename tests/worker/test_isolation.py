"""Attempts in processes of their own, minded by the worker's threads."""

import multiprocessing
import os
import signal
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

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
from tests.worker.conftest import Register, Silent, row_of, submit

pytestmark = pytest.mark.usefixtures("acme")


def execution_of(task: Task) -> Execution:
    return Execution(row_of(task, fence=1), timeout=60.0, sink=Silent())


def test_a_hard_stop_that_comes_before_the_process_is_there_ends_it(
    children: None, processors: Register
):
    processors("ANALYZE", lambda context: None)
    ended: list[AttemptResult] = []
    executor = ProcessExecutor(lambda held, result: ended.append(result))
    task = submit("ANALYZE", input={"url": "https://example.org"})
    execution = execution_of(task)

    entry = registry.processor_of("ANALYZE")
    assert entry is not None
    held = HeldLease("analyze", Lease(str(task.pk), 1, "e", "acme", 0))
    executor.start(held, execution, entry)
    assert not executor._children.get(execution)
    executor.interrupt(execution)

    wait_until(lambda: ended, 20)
    assert ended[0].outcome is Outcome.LOST
    assert not executor._children


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


@pytest.mark.slow
def test_a_child_begins_when_its_parent_says_so(children: None):
    execution = execution_of(submit("ANALYZE", input={"url": "https://example.org"}))
    process, ours = child_of(execution)

    assert ours.recv() == child.READY
    assert not ours.poll(1.0)
    ours.send(child.BEGIN)
    assert ours.poll(10)
    assert ours.recv().percent == 1
    process.kill()


@pytest.mark.slow
def test_a_child_whose_worker_ended_while_it_came_ends_too(children: None):
    execution = execution_of(submit("ANALYZE", input={"url": "https://example.org"}))
    process, ours = child_of(execution)
    ours.close()

    process.join(10)
    assert process.exitcode == 1


@pytest.mark.slow
def test_a_stop_that_reaches_the_forkserver_first_lets_no_child_seem_dead(children: None):
    execution = execution_of(submit("ANALYZE", input={"url": "https://example.org"}))
    process, ours = child_of(execution)
    ours.send(child.BEGIN)
    assert ours.recv() == child.READY
    assert ours.recv().percent == 1

    # As to the whole group: the worker has not heard of it yet, or it would have told the attempt.
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)  # type: ignore[attr-defined]

    assert not connection.wait([process.sentinel], 1.0)
    process.kill()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
