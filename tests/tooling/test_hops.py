"""The trace that the budgets of hops are measured with."""

import threading

import pytest

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.errors import InvalidTransition
from tests.tooling.hops import Budget, Hops, Trace


def test_a_trace_names_the_files_that_run():
    with Trace() as trace:
        new_id()

    assert trace.hops().files == {"domain/ids.py"}
    assert trace.hops().depth == 2


def test_a_call_from_one_file_to_another_is_an_edge():
    with Trace() as trace, pytest.raises(InvalidTransition):
        lifecycle.require(State.COMPLETE, State.PROCESSING)

    assert ("domain/lifecycle.py", "errors.py") in trace.hops().edges


def test_a_trace_sees_the_threads_that_start_inside_it_and_nothing_afterwards():
    with Trace() as trace:
        thread = threading.Thread(target=new_id)
        thread.start()
        thread.join()
    assert trace.files["domain/ids.py"] == 3

    new_id()

    assert trace.files["domain/ids.py"] == 3


def test_what_an_idle_trace_counted_as_well_is_left_out():
    with Trace() as idle:
        new_id()
    with Trace() as busy:
        new_id()

    assert busy.hops(without=idle).files == frozenset()


def test_a_budget_holds_files_and_edges():
    hops = Hops(files=frozenset("ab"), edges=frozenset({("a", "b")}), depth=2)

    assert Budget(files=2, edges=1).holds(hops)
    assert not Budget(files=1, edges=1).holds(hops)
    assert not Budget(files=2, edges=0).holds(hops)
