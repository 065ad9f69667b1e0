"""The forkserver dies, hangs, is replaced: the next attempt finds its code loaded all the same."""

import multiprocessing
import os
import signal
from multiprocessing import connection, forkserver

import pytest

from plugspace_queue.domain.enums import Outcome
from plugspace_queue.worker.executors import child, child_process, processes
from plugspace_queue.worker.executors import forkserver as children_forkserver
from tests.support import patient
from tests.worker.conftest import submit
from tests.worker.isolated import (
    alone,
    analysis,
    child_of,
    end_forkserver,
    execution_of,
    forkserver_pid,
    is_loaded_before,
    result_of,
)

pytestmark = pytest.mark.usefixtures("acme")


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


@pytest.mark.slow
@alone
def test_a_forkserver_that_multiprocessing_started_by_itself_is_replaced(children: None):
    assert is_loaded_before(result_of(analysis()))
    end_forkserver()
    forkserver.ensure_running()
    foreign = forkserver_pid()

    assert is_loaded_before(result_of(analysis()))

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
    assert is_loaded_before(result_of(analysis()))


@pytest.mark.slow
@alone
def test_a_forkserver_that_passes_for_alive_and_cannot_be_reached_is_replaced(children: None):
    children_forkserver.ensure_ready()
    pid = forkserver_pid()
    # As while it dies: its socket is gone, its exit status is not there yet.
    os.unlink(forkserver._forkserver._forkserver_address)  # type: ignore[attr-defined]

    assert is_loaded_before(result_of(analysis()))

    assert forkserver_pid() != pid


@pytest.mark.slow
@alone
def test_a_forkserver_that_does_not_answer_is_replaced(
    children: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    children_forkserver.ensure_ready()
    os.kill(forkserver_pid(), signal.SIGSTOP)
    monkeypatch.setattr(child_process, "START_UP", patient(5))

    assert is_loaded_before(result_of(analysis()))

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
    assert is_loaded_before(result_of(analysis())) is (times == 1)
    assert len(started) == times + 1


@pytest.mark.slow
@alone
def test_where_each_forkserver_ends_while_it_starts_the_attempt_goes_back(
    children: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    start = children_forkserver._forkserver._start
    monkeypatch.setattr(
        children_forkserver._forkserver, "_start", lambda: (start(), end_forkserver())
    )
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.1)

    assert result_of(analysis()).outcome is Outcome.HANDED_BACK

    assert caplog.text.count("of 3): the forkserver ended") == 3
