"""Attempts in processes of their own, minded by the worker's threads."""

import multiprocessing
import tempfile
from collections.abc import Callable

import pytest

from plugspace_queue.domain.enums import Outcome
from plugspace_queue.models import Task
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.worker import child, child_process, isolation
from plugspace_queue.worker.crew import Crew
from tests.support import wait_until
from tests.worker.conftest import Register, fresh, submit
from tests.worker.isolated import (
    alone,
    analysis,
    child_of,
    run_of,
    slots_for,
    start,
)

pytestmark = pytest.mark.usefixtures("acme")


@pytest.mark.slow
def test_a_hard_stop_that_comes_before_the_process_is_there_ends_it(
    children: None, processors: Register
):
    processors("ANALYZE", lambda context: None)
    ended: list[Ending] = []
    slots = slots_for(ended)
    task = submit("ANALYZE", input={"url": "https://example.org"})
    run = run_of(task)

    start(slots, run)
    assert not slots._children[run]._process
    slots.interrupt(run)

    wait_until(lambda: ended, 20)
    # Nothing of its code has run.
    assert ended[0].outcome is Outcome.HANDED_BACK
    assert not slots._children


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
    back: list[Run] = []
    ended: list[Ending] = []
    slots = slots_for(ended, back)
    leave_no_room(monkeypatch)
    monkeypatch.setattr(isolation, "FIRST_PAUSE", 100.0)
    monkeypatch.setattr(isolation, "LONGEST_PAUSE", 300.0)

    runs = [analysis() for _ in range(3)]
    for number, run in enumerate(runs, start=1):
        start(slots, run)
        wait_until(lambda number=number: len(back) == number, 10)

    assert back == runs
    assert [f"rests for {pause} s" in caplog.text for pause in (100, 200, 300)] == [True] * 3
    assert ended == []
    # The end of the worker waits for no slot.
    slots.stop()
    wait_until(lambda: len(ended) == len(runs))


@alone
def test_a_task_that_is_to_run_alone_among_threads_keeps_one_slot_while_there_is_no_process(
    children: None, processors: Register, monkeypatch: pytest.MonkeyPatch
):
    processors("ANALYZE", print)
    back: list[Run] = []
    ended: list[Ending] = []
    leave_no_room(monkeypatch)
    monkeypatch.setattr(isolation, "FIRST_PAUSE", 0.2)
    slots = slots_for(ended, back)
    run = analysis()
    start(slots, run)
    wait_until(lambda: ended)
    assert back == [run]

    monkeypatch.setattr(isolation, "FIRST_PAUSE", 20.0)
    cancelled = analysis()
    start(slots, cancelled)
    wait_until(lambda: slots._failed_starts == 2)
    cancelled.tell(Told.CANCEL)

    wait_until(lambda: len(ended) == 2)
    assert (back, ended[1].outcome) == ([run], Outcome.CANCELLED)


@pytest.mark.slow
@alone
@pytest.mark.timeout(240)
def test_a_child_that_never_comes_up_is_ended_and_its_task_goes_back_with_nothing_counted(
    children: None,
    processors: Register,
    crew: Callable[..., Crew],
    until_final: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setenv("TEST_LOADING", "error slow-child")
    monkeypatch.setattr(isolation, "FIRST_PAUSE", 0.1)
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
