"""Attempts in processes of their own, minded by the worker's threads."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
from django.utils import timezone

from plugspace_queue.engine.store import Lease
from plugspace_queue.models import Task
from plugspace_queue.processing import registry
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.types import Outcome
from plugspace_queue.worker import child, child_process, isolation
from plugspace_queue.worker import forkserver as children_forkserver
from plugspace_queue.worker.crew import Crew
from plugspace_queue.worker.isolation import ProcessSlots
from plugspace_queue.worker.table import Held
from tests.support import patient, wait_until
from tests.worker.conftest import Register, fresh, submit

pytestmark = pytest.mark.usefixtures("acme")


alone = pytest.mark.parametrize("children", ["tests.processes.alone_settings"], indirect=True)
"""With a processor in the children that tells where its code was loaded."""


class Silent:
    """Takes progress and keeps none of it."""

    def progress(self, run: Run) -> None:
        pass


def run_of(task: Task) -> Run:
    started = {"fence": 1, "timeout": 60.0, "started_at": timezone.now()}
    return Run(task=task, sink=Silent(), **started)  # type: ignore[arg-type]


def slots_for(ended: list[Ending], back: list[Run] | None = None) -> ProcessSlots:
    """Slots that say how attempts ended, and which of them went back before."""
    handed_back = [] if back is None else back
    return ProcessSlots(
        lambda held, ending: ended.append(ending), lambda held, run: handed_back.append(run)
    )


def start(slots: ProcessSlots, run: Run) -> None:
    entry = registry.processor_of("ANALYZE")
    assert entry is not None
    lease = Lease(str(run.task.pk), 1, "e", "acme", 0)
    slots.start(Held("analyze", lease, run), run, entry)


def ending_of(run: Run) -> Ending:
    """How an attempt in a process of its own ends; looked after as by a worker's ticker."""
    ended: list[Ending] = []
    slots = slots_for(ended)
    start(slots, run)

    def has_ended() -> bool:
        slots.look()
        return bool(ended)

    wait_until(has_ended, 60)
    return ended[0]


def analysis(step: str = "tell") -> Run:
    """A run of the isolated processor of `tests.processes.alone`."""
    return run_of(submit("ANALYZE", input={"url": f"https://example.com/{step}"}))


def is_loaded_before(ending: Ending) -> bool:
    assert ending.outcome is Outcome.COMPLETE, ending
    return bool(ending.result["loaded_in"] == ending.result["parent"])


def forkserver_pid() -> int:
    return int(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]


def end_forkserver() -> None:
    """Kill the forkserver; nobody has taken its exit status yet."""
    pid = forkserver_pid()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


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


@pytest.mark.slow
@alone
def test_a_forkserver_that_multiprocessing_started_by_itself_is_replaced(children: None):
    assert is_loaded_before(ending_of(analysis()))
    end_forkserver()
    forkserver.ensure_running()
    foreign = forkserver_pid()

    assert is_loaded_before(ending_of(analysis()))

    assert forkserver_pid() != foreign


class KillsItsForkserver(multiprocessing.get_context("forkserver").Process):
    """The forkserver ends when it is known to live, before it is asked for this process."""

    def start(self) -> None:
        end_forkserver()
        super().start()


@pytest.mark.slow
@alone
def test_a_forkserver_that_ends_before_it_is_asked_leaves_no_child_of_one_that_has_loaded_nothing(
    children: None,
):
    process = KillsItsForkserver(target=signal.pause, daemon=True)
    children_forkserver.ensure_ready()

    with pytest.raises(children_forkserver.Gone):
        children_forkserver.fork(process)

    process.kill()
    assert is_loaded_before(ending_of(analysis()))


@pytest.mark.slow
@alone
def test_a_forkserver_that_passes_for_alive_and_cannot_be_reached_is_replaced(children: None):
    children_forkserver.ensure_ready()
    pid = forkserver_pid()
    # As while it dies: its socket is gone, its exit status is not there yet.
    os.unlink(forkserver._forkserver._forkserver_address)  # type: ignore[attr-defined]

    assert is_loaded_before(ending_of(analysis()))

    assert forkserver_pid() != pid


@pytest.mark.slow
@alone
def test_a_forkserver_that_does_not_answer_is_replaced(
    children: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    children_forkserver.ensure_ready()
    os.kill(forkserver_pid(), signal.SIGSTOP)
    monkeypatch.setattr(child_process, "START_UP", patient(5))

    assert is_loaded_before(ending_of(analysis()))

    assert "the forkserver has not answered" in caplog.text


@pytest.mark.slow
@alone
@pytest.mark.parametrize("times", [1, 2])
def test_a_forkserver_that_is_killed_while_it_loads_is_started_again(
    children: None, times: int, monkeypatch: pytest.MonkeyPatch
):
    start, started = children_forkserver._forkserver._start, []

    def start_and_kill() -> None:
        start()
        started.append(forkserver_pid())
        if len(started) <= times:
            end_forkserver()

    monkeypatch.setattr(children_forkserver._forkserver, "_start", start_and_kill)

    # One that ends each time it loads has a reason to: the next one loads nothing.
    assert is_loaded_before(ending_of(analysis())) is (times == 1)
    assert len(started) == times + 1


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
