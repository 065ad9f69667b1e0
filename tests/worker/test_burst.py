"""What becomes of a task in a worker that works off what waits."""

import asyncio
import json
import threading
from decimal import Decimal

import pytest
from django.test import override_settings

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt, QueueSettings, UsageEntry
from plugspace_queue.processing import registry
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")

QUICK = {"BACKOFF_DELAY": 0.05, "HARD_STOP": 0.3}


def test_a_task_runs_to_its_end_and_every_place_says_so(processors, work, redis):
    processors("ARCHITECT", lambda context: {"said": context.input.prompt})
    task = submit()

    assert redis.llen(keys.wait("architect")) == 1
    assert work("architect") == 1

    row = fresh(task)
    assert (row.state, row.result) == ("complete", {"said": "a site"})
    assert row.attempts.get().outcome == "complete"
    assert redis.llen(keys.wait("architect")) == redis.llen(keys.active("architect")) == 0
    assert json.loads(redis.get(keys.task(str(task.pk))))["status"] == "complete"
    assert json.loads(redis.get(keys.result(str(task.pk), "ARCHITECT"))) == {"said": "a site"}
    assert QueueSettings.objects.get(pk="ARCHITECT").completed == 1


def test_an_async_processor_runs_on_the_event_loop(processors, work):
    async def architect(context):
        await asyncio.sleep(0)
        return threading.current_thread().name

    processors("ARCHITECT", architect)
    task = submit()

    work("architect")

    assert fresh(task).result == "plugspace-loop"


@pytest.mark.parametrize(
    ("raised", "code", "retryable"),
    [
        (errors.ExternalServiceError("away"), "EXTERNAL_SERVICE_ERROR", True),
        (ConnectionResetError("reset"), "EXTERNAL_SERVICE_ERROR", True),
        (TimeoutError("slow"), "EXTERNAL_SERVICE_ERROR", True),
        (errors.ValidationFailed("no"), "VALIDATION_ERROR", False),
        (errors.AuthenticationFailed("no"), "AUTHENTICATION_ERROR", False),
        (ValueError("what"), "INTERNAL_ERROR", False),
        (SystemExit(3), "INTERNAL_ERROR", False),
    ],
)
def test_only_retryable_errors_are_retried(processors, work, raised, code, retryable):
    def architect(context):
        raise raised

    processors("ARCHITECT", architect)
    task = submit()

    work("architect")

    row = fresh(task)
    assert row.state == ("retrying" if retryable else "failed")
    assert (row.error["code"], row.error["retryable"]) == (code, retryable)
    assert row.retry_count == retryable


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_three_retries_make_four_runs_and_then_it_fails(processors, crew, until_final):
    def architect(context):
        context.record_usage(tokens=10, cost="0.01")
        raise errors.ExternalServiceError("away")

    processors("ARCHITECT", architect)
    task = submit()
    crew("architect")

    row = until_final(task)
    assert (row.state, row.retry_count, row.attempts.count()) == ("failed", 3, 4)
    assert (row.tokens_used, row.cost) == (40, Decimal("0.04"))
    assert UsageEntry.objects.filter(task=task, reason="settle").count() == 4


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_providers_429_waits_and_burns_no_retry(processors, crew, until_final):
    def architect(context):
        if context.attempt < 3:
            raise errors.RateLimited("later", retry_after=0.1)
        return "done"

    processors("ARCHITECT", architect)
    task = submit(max_retries=0)
    crew("architect")

    row = until_final(task)
    assert (row.state, row.retry_count, row.deferral_count) == ("complete", 0, 2)


@pytest.mark.parametrize("returned", [{1, 2}, float("nan"), "a\x00b", object(), b"bytes"])
def test_garbage_is_an_invalid_result(processors, work, returned):
    processors("ARCHITECT", lambda context: returned)
    task = submit()

    work("architect")

    assert (fresh(task).state, fresh(task).error["code"]) == ("failed", "INVALID_RESULT")


def test_a_result_must_fit_the_output_schema_of_its_type(processors, work):
    processors("ARCHITECT", lambda context: {"pages": "none"}, output=None)
    task = submit()

    work("architect")

    assert fresh(task).error["code"] == "INVALID_RESULT"


@override_settings(PLUGSPACE_QUEUE={"MAX_RESULT": 100})
def test_a_result_that_is_too_large_is_an_invalid_result(processors, work):
    processors("ARCHITECT", lambda context: "x" * 200)
    task = submit()

    work("architect")

    assert "202 bytes" in fresh(task).error["message"]
    assert fresh(task).error["code"] == "INVALID_RESULT"


def test_a_type_without_processor_waits(processors, work, caplog):
    processors("ARCHITECT", lambda context: None)
    registry.unregister("ARCHITECT")
    processors("DESIGN", lambda context: None)
    task = submit()

    work("architect", "design")

    assert fresh(task).state == "waiting"
    assert "no processor for architect" in caplog.text


def test_what_a_processor_tells_is_kept_with_the_attempt(processors, work):
    def architect(context):
        context.log("first line")
        context.report_progress(40, stage="drawing")
        context.report_progress(30)
        assert context.idempotency_key == f"plugspace:{context.task_id}"
        assert (context.attempt, context.organization_id) == (1, "acme")

    processors("ARCHITECT", architect)
    task = submit()

    work("architect")

    assert Attempt.objects.get(task=task).log == ["first line"]
    assert fresh(task).progress == {"percent": 40.0, "stage": "drawing"}


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_processor_that_checks_ends_at_its_timeout(processors, crew, until_final):
    def architect(context):
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect, timeout=0.1)
    task = submit(max_retries=0)
    crew("architect")

    row = until_final(task)
    assert (row.state, row.error["code"]) == ("failed", "TIMEOUT")


@override_settings(PLUGSPACE_QUEUE=QUICK)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_processor_that_never_returns_is_interrupted(processors, crew, until_final, kind):
    cleaned_up = threading.Event()

    def architect(context):
        try:
            while True:
                threading.Event().wait(0.01)
        finally:
            cleaned_up.set()

    async def aarchitect(context):
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned_up.set()

    processors("ARCHITECT", architect if kind == "sync" else aarchitect, timeout=0.1)
    task = submit(max_retries=0)
    crew("architect")

    assert until_final(task).error["code"] == "TIMEOUT"
    assert cleaned_up.is_set()


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_call_that_cannot_be_interrupted_costs_its_slot_until_it_returns(
    processors, crew, until_final, redis
):
    released = threading.Event()
    processors("ARCHITECT", lambda context: released.wait(30), timeout=0.1, concurrency=1)
    task = submit(max_retries=0)
    running = crew("architect")

    row = until_final(task)
    assert row.error["code"] == "TIMEOUT"
    wait_until(lambda: redis.llen(keys.active("architect")) == 0)
    second = submit()
    assert fresh(second).state == "waiting"
    assert running.fetcher.queues["architect"].busy == 1
    released.set()
    assert until_final(second).state == "complete"


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_running_task_is_cancelled(processors, crew, until_final, until_running):
    def architect(context):
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect)
    task = submit()
    crew("architect")
    until_running(task)

    queue_manager.cancel(str(task.pk))

    row = until_final(task)
    assert (row.state, row.error["code"]) == ("cancelled", "CANCELLED")
    assert row.refunded_at is None
