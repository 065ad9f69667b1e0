"""Attempts in processes of their own, minded by the worker's threads."""

import multiprocessing
import os
import signal
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
from django.utils import timezone

from plugspace_queue.broker.task_store import Lease
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.models import Task
from plugspace_queue.processing import registry
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import child
from plugspace_queue.worker import forkserver as children_forkserver
from plugspace_queue.worker.isolation import ProcessSlots
from plugspace_queue.worker.table import Held
from tests.support import wait_until
from tests.worker.conftest import Register, submit

pytestmark = pytest.mark.usefixtures("acme")


class Silent:
    """Takes progress and keeps none of it."""

    def progress(self, run: Run) -> None:
        pass


def run_of(task: Task) -> Run:
    started = {"fence": 1, "timeout": 60.0, "started_at": timezone.now()}
    return Run(task=task, sink=Silent(), **started)  # type: ignore[arg-type]


def test_a_hard_stop_that_comes_before_the_process_is_there_ends_it(
    children: None, processors: Register
):
    processors("ANALYZE", lambda context: None)
    ended: list[Ending] = []
    slots = ProcessSlots(lambda held, ending: ended.append(ending))
    task = submit("ANALYZE", input={"url": "https://example.org"})
    run = run_of(task)

    entry = registry.processor_of("ANALYZE")
    assert entry is not None
    slots.start(Held("analyze", Lease(str(task.pk), 1, "e", "acme", 0), run), run, entry)
    assert not slots._children.get(run)
    slots.interrupt(run)

    wait_until(lambda: ended, 20)
    assert ended[0].outcome is Outcome.LOST
    assert not slots._children


def child_of(run: Run) -> tuple[BaseProcess, Connection]:
    """A child process, and its parent's end of the line."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    children_forkserver.ensure_ready()
    order = child.Order(run.task, run.fence, run.timeout, run.started_at, run.results)
    process = context.Process(target=child.main, args=(theirs, order), daemon=True)
    process.start()
    theirs.close()
    return process, ours


@pytest.mark.slow
def test_a_child_begins_when_its_parent_says_so(children: None):
    run = run_of(submit("ANALYZE", input={"url": "https://example.org"}))
    process, ours = child_of(run)

    assert ours.recv() == child.READY
    assert not ours.poll(1.0)
    ours.send(child.BEGIN)
    assert ours.poll(10)
    assert ours.recv().percent == 1
    process.kill()


@pytest.mark.slow
def test_a_child_whose_worker_ended_while_it_came_ends_too(children: None):
    run = run_of(submit("ANALYZE", input={"url": "https://example.org"}))
    process, ours = child_of(run)
    ours.close()

    process.join(10)
    assert process.exitcode == 1


@pytest.mark.slow
def test_a_stop_that_reaches_the_forkserver_first_lets_no_child_seem_dead(children: None):
    run = run_of(submit("ANALYZE", input={"url": "https://example.org"}))
    process, ours = child_of(run)
    ours.send(child.BEGIN)
    assert ours.recv() == child.READY
    assert ours.recv().percent == 1

    # As to the whole group: the worker has not heard of it yet, or it would have told the attempt.
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)  # type: ignore[attr-defined]

    assert not connection.wait([process.sentinel], 1.0)
    process.kill()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
