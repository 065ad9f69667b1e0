"""Processors that tell nonsense or raise nonsense: only their own task suffers, no slot is lost."""

import asyncio
import functools
import threading

import pytest
from django.test import override_settings

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")

QUICK = {"HARD_STOP": 0.3}


@pytest.fixture
def works_on(processors, until_final):
    """Say that a healthy task of another queue still runs to its end in this crew."""
    processors("CODE", lambda context: {})

    def check(crew):
        assert until_final(submit("CODE"), 10).state == "complete"
        assert crew.loop.is_alive()

    return check


def all_slots_are_free(crew):
    """Wait until no queue counts a slot or a lease as taken; less than none is as wrong."""
    wait_until(lambda: all(one.busy == one.held == 0 for one in crew.fetcher.queues.values()))


@pytest.mark.parametrize(
    "usage",
    [
        {"tokens": 2**63},
        {"tokens": -5},
        {"tokens": 2.5},
        {"cost": "12345678901.5"},
        {"cost": "-3"},
        {"cost": "NaN"},
    ],
    ids=str,
)
def test_usage_that_no_row_can_hold_is_refused(processors, crew, until_final, works_on, usage):
    processors("ARCHITECT", lambda context: context.record_usage(**usage))
    made = crew("architect", "code")
    task = submit()

    row = until_final(task)

    assert (row.state, row.error["code"]) == ("failed", "INTERNAL_ERROR")
    assert (row.tokens_used, row.cost) == (0, 0)
    works_on(made)


def test_usage_whose_sum_no_row_can_hold_is_refused_and_what_was_counted_stays(
    processors, crew, until_final, works_on
):
    def architect(context):
        for _ in range(10_100):
            context.record_usage(tokens=1, cost="999999")

    processors("ARCHITECT", architect)
    made = crew("architect", "code")
    task = submit()

    row = until_final(task)

    assert (row.state, row.error["code"]) == ("failed", "INTERNAL_ERROR")
    assert "costs less than 10000000000 in all" in row.error["message"]
    assert (row.tokens_used, row.cost) == (10_000, 9_999_990_000)
    works_on(made)


def test_usage_of_earlier_attempts_counts_against_what_the_row_can_hold(
    processors, work, until_final
):
    processors("ARCHITECT", lambda context: context.record_usage(tokens=2, cost=2))
    full = submit()
    Task.objects.filter(pk=full.pk).update(tokens_used=2**63 - 2)

    work("architect")

    row = until_final(full)
    assert (row.error["code"], row.tokens_used) == ("INTERNAL_ERROR", 2**63 - 2)


@pytest.mark.parametrize("percent", [float("nan"), float("inf")])
@pytest.mark.slow
def test_progress_that_is_no_number_changes_only_the_stage(
    processors, crew, until_final, works_on, percent
):
    gate = threading.Event()

    def architect(context):
        context.report_progress(40)
        context.report_progress(percent, stage="an empty list")
        gate.wait(20)

    processors("ARCHITECT", architect)
    made = crew("architect", "code")
    task = submit()

    wait_until(lambda: fresh(task).progress)
    works_on(made)
    gate.set()
    assert until_final(task).progress == {"percent": 40.0, "stage": "an empty list"}


def test_a_result_as_deep_as_a_schema_lets_through_is_stored(
    processors, crew, until_final, works_on
):
    deep = functools.reduce(lambda inner, _: [inner], range(254), 1)
    processors("ARCHITECT", lambda context: deep)
    made = crew("architect", "code")

    row = until_final(submit())

    assert (row.state, row.result) == ("complete", deep)
    works_on(made)


@override_settings(PLUGSPACE_QUEUE={"RETENTION": {"complete": 3600}})
def test_a_retention_that_names_one_state_keeps_what_ends_in_another(
    processors, crew, until_final, works_on, redis
):
    def architect(context):
        raise ValueError("no")

    processors("ARCHITECT", architect)
    made = crew("architect", "code")
    task = submit()

    until_final(task)

    works_on(made)
    assert redis.ttl(keys.task(str(task.pk))) == -1


@pytest.mark.parametrize("told", ["30", "nan", float("nan"), "Wed, 21 Oct 2026 07:28:00 GMT", b""])
def test_a_retry_after_as_the_header_has_it_is_waited_for(processors, crew, told):
    def architect(context):
        raise errors.RateLimited("429", retry_after=told)

    processors("ARCHITECT", architect, concurrency=1)
    made = crew("architect")
    task = submit()

    wait_until(lambda: fresh(task).state == "retrying")

    row = fresh(task)
    assert (row.error["code"], row.deferral_count) == ("RATE_LIMITED", 1)
    if told == "30":
        assert 25 < (row.wake_at - row.started_at).total_seconds() < 40
    all_slots_are_free(made)


class Unspeakable(Exception):
    """An error that cannot be told."""

    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_that_cannot_be_told_ends_its_attempt(processors, crew, until_final, kind):
    def architect(context):
        raise Unspeakable

    async def aarchitect(context):
        raise Unspeakable

    processors("ARCHITECT", architect if kind == "sync" else aarchitect, concurrency=1)
    made = crew("architect")
    task = submit()

    row = until_final(task)

    assert (row.error["code"], row.error["message"]) == ("INTERNAL_ERROR", "Unspeakable")
    all_slots_are_free(made)


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_an_interruption_while_the_error_is_told_frees_the_slot(
    processors, crew, until_running, until_final
):
    asked = []

    class Slow(Exception):
        def __str__(self):
            asked.append(self)
            while len(asked) == 1:
                threading.Event().wait(0.01)
            return "slow"

    def architect(context):
        if context.input.prompt == "slow":
            wait_until(lambda: context.should_stop)
            raise Slow

    processors("ARCHITECT", architect, concurrency=1)
    made = crew("architect")
    task = submit(input={"prompt": "slow"})
    until_running(task)

    queue_manager.cancel(task.pk)

    assert until_final(task).state == "cancelled"
    assert until_final(submit()).state == "complete"
    all_slots_are_free(made)


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_an_attempt_cancelled_before_the_loop_came_to_it_frees_its_slot(
    processors, crew, until_running, until_final
):
    begun, gate = [], threading.Event()

    async def architect(context):
        begun.append(context.task_id)
        if len(begun) == 1:
            gate.wait(20)  # Keeps the loop from everything else.
        await asyncio.sleep(0)

    processors("ARCHITECT", architect, concurrency=2)
    made = crew("architect")
    first = submit()
    wait_until(lambda: begun)
    second = submit()
    until_running(second)

    queue_manager.cancel(second.pk)
    assert until_final(second).state == "cancelled"
    gate.set()

    assert until_final(first).state == "complete"
    all_slots_are_free(made)
    assert begun == [str(first.pk)]


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_call_that_returns_while_it_is_given_up_frees_its_slot_once(
    processors, crew, until_running, until_final
):
    gate = threading.Event()

    def architect(context):
        try:
            gate.wait(20)
        finally:
            gate.wait(20)

    processors("ARCHITECT", architect, concurrency=1)
    made = crew("architect")
    record = made.executors._record_end

    def let_go_first(*ended):
        gate.set()
        return record(*ended)

    task = submit()
    until_running(task)
    made.executors._record_end = let_go_first

    queue_manager.cancel(task.pk)

    assert until_final(task).state == "cancelled"
    all_slots_are_free(made)
