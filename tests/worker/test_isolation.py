"""Attempts in processes of their own, minded by the worker's threads."""

import multiprocessing
import tempfile
from collections.abc import Callable

import pytest

from plugspace_queue.domain.enums import Outcome
from plugspace_queue.models import Task
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.worker.executors import child, child_process, processes
from plugspace_queue.worker.runtime import WorkerRuntime
from tests.support import wait_until
from tests.worker.conftest import Register, fresh, submit
from tests.worker.isolated import (
    alone,
    analysis,
    child_of,
    execution_of,
    slots_for,
    start,
)

pytestmark = pytest.mark.usefixtures("acme")


@pytest.mark.slow
def test_a_hard_stop_that_comes_before_the_process_is_there_ends_it(
    children: None, processors: Register
):
    processors("ANALYZE", lambda context: None)
    ended: list[AttemptResult] = []
    slots = slots_for(ended)
    task = submit("ANALYZE", input={"url": "https://example.org"})
    execution = execution_of(task)

    start(slots, execution)
    assert not slots._children[execution]._process
    slots.interrupt(execution)

    wait_until(lambda: ended, 20)
    # Nothing of its code has run.
    assert ended[0].outcome is Outcome.HANDED_BACK
    assert not slots._children


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


def leave_no_room(patch: pytest.MonkeyPatch) -> None:
    """No place for temporary files, where a forkserver has its socket."""
    patch.setattr(tempfile, "tempdir", "/proc/nowhere")
    # multiprocessing keeps a folder that it made once.
    config: dict[str, object] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    patch.setitem(config, "tempdir", "/proc/nowhere")


@alone
def test_where_no_process_can_be_started_attempts_go_back_and_each_slot_rests_longer(
    children: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    back: list[Execution] = []
    ended: list[AttemptResult] = []
    slots = slots_for(ended, back)
    leave_no_room(monkeypatch)
    monkeypatch.setattr(processes, "FIRST_PAUSE", 100.0)
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 300.0)

    executions = [analysis() for _ in range(3)]
    for number, execution in enumerate(executions, start=1):
        start(slots, execution)
        wait_until(lambda number=number: len(back) == number, 10)

    assert back == executions
    assert [f"rests for {pause} s" in caplog.text for pause in (100, 200, 300)] == [True] * 3
    assert ended == []
    # The end of the worker waits for no slot.
    slots.stop()
    wait_until(lambda: len(ended) == len(executions))


@alone
def test_a_task_that_is_to_run_alone_among_threads_keeps_one_slot_while_there_is_no_process(
    children: None, processors: Register, monkeypatch: pytest.MonkeyPatch
):
    processors("ANALYZE", print)
    back: list[Execution] = []
    ended: list[AttemptResult] = []
    leave_no_room(monkeypatch)
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.2)
    slots = slots_for(ended, back)
    execution = analysis()
    start(slots, execution)
    wait_until(lambda: ended)
    assert back == [execution]

    monkeypatch.setattr(processes, "FIRST_PAUSE", 20.0)
    cancelled = analysis()
    start(slots, cancelled)
    wait_until(lambda: slots._failed_starts == 2)
    cancelled.ask_to_stop(StopReason.CANCEL)

    wait_until(lambda: len(ended) == 2)
    assert (back, ended[1].outcome) == ([execution], Outcome.CANCELLED)


@pytest.mark.slow
@alone
@pytest.mark.timeout(240)
def test_a_child_that_never_comes_up_is_ended_and_its_task_goes_back_with_nothing_counted(
    children: None,
    processors: Register,
    crew: Callable[..., WorkerRuntime],
    until_final: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setenv("TEST_LOADING", "error slow-child")
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.1)
    # No start is as short as the attempt has to be.
    processors("ANALYZE", print, isolation="process", timeout=0.1)
    task = submit("ANALYZE", input={"url": "https://example.com/tell"})
    with monkeypatch.context() as patch:
        patch.setattr(child_process, "START_UP", 0.3)
        crew("analyze")
        wait_until(lambda: task.attempts.filter(outcome="handed_back").count() >= 2, 60)

    row = fresh(task)
    assert "did not load its code within 0.3 s" in caplog.text
    assert (row.recovery_count, row.retry_count) == (0, 0)
    assert set(row.attempts.exclude(outcome=None).values_list("outcome", flat=True)) == {
        "handed_back"
    }
    processors("ANALYZE", print, isolation="process")
    assert until_final(task, 60).state == "complete"
