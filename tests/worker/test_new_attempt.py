"""A new attempt begins at nothing, and where a tenant looks there is no stack of a failed one."""

import json
import threading
from typing import Any

import pytest
from django.test import override_settings
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from plugspace_queue import errors
from plugspace_queue.models import Attempt, Task
from tests.support import patient, wait_until
from tests.worker.conftest import fresh, submit
from tests.worker.test_redis_bounds import copy_of, rest

pytestmark = pytest.mark.usefixtures("acme")


def progress_shown(redis: Redis, task: Task) -> list[Any]:
    """The percent that row, snapshot and REST tell of a task."""
    told = (fresh(task).progress, copy_of(redis, task).get("progress"), rest(task).get("progress"))
    return [(progress or {}).get("percent") for progress in told]


NOTHING = [None, None, None]


@pytest.mark.parametrize(
    "error", [errors.ExternalServiceError("busy"), errors.RateLimited("later", retry_after=60)]
)
def test_a_task_that_waits_for_its_retry_shows_no_progress(processors, work, redis, error):
    def architect(context):
        context.report_progress(70, stage="late")
        raise error

    processors("ARCHITECT", architect)
    task = submit()

    work("architect")

    assert fresh(task).state == "retrying"
    assert progress_shown(redis, task) == NOTHING


@override_settings(PLUGSPACE_QUEUE={"BACKOFF_DELAY": 0.01})
def test_a_retry_begins_at_nothing_and_goes_on_from_there(processors, crew, redis, until_final):
    is_second, may_report, may_end = (threading.Event() for _ in range(3))

    def architect(context):
        if context.attempt == 1:
            context.report_progress(70, stage="late")
            raise errors.ExternalServiceError("busy")
        is_second.set()
        assert may_report.wait(patient(20))
        context.report_progress(5)
        assert may_end.wait(patient(20))
        raise errors.ValidationFailed("no")

    processors("ARCHITECT", architect)
    task = submit()
    crew("architect")

    assert is_second.wait(patient(20))
    wait_until(lambda: copy_of(redis, task)["attempt"] == 2)
    assert progress_shown(redis, task) == NOTHING
    may_report.set()
    wait_until(lambda: progress_shown(redis, task) == [5.0, 5.0, 5.0])
    may_end.set()

    # What failed for good shows how far it had come.
    assert until_final(task).progress["percent"] == 5.0
    stream = [json.loads(entry[b"event"]) for _, entry in redis.xrange("plugspace:events")]
    told = [(e["name"], e.get("progress", {}).get("percent")) for e in stream]
    second = told[told.index(("taskRetrying", None)) :]
    assert [percent for _, percent in second if percent is not None] == [5.0]


@override_settings(PLUGSPACE_QUEUE={"SHUTDOWN_GRACE": 0.2, "HARD_STOP": 0.1})
def test_what_is_handed_back_shows_no_progress(processors, crew, redis):
    def architect(context):
        context.report_progress(70, stage="late")
        while True:
            context.check_cancelled()
            threading.Event().wait(0.02)

    processors("ARCHITECT", architect)
    task = submit()
    made = crew("architect")
    wait_until(lambda: (fresh(task).progress or {}).get("percent") == 70.0)

    made.stop()

    wait_until(lambda: fresh(task).state == "waiting", 10)
    wait_until(lambda: copy_of(redis, task)["state"] == "waiting", 10)
    assert progress_shown(redis, task) == NOTHING


def test_no_key_that_is_shown_to_tenants_has_the_stack_of_a_failed_task(processors, work, redis):
    def a_function_of_ours(context):
        raise ValueError("no")

    processors("ARCHITECT", a_function_of_ours)
    task = submit()

    work("architect")

    # Staff see it, from the row.
    assert "a_function_of_ours" in fresh(task).error["stack"]
    assert "a_function_of_ours" in Attempt.objects.get(task=task).error["stack"]
    assert copy_of(redis, task)["error"] == {
        "message": "no",
        "code": "INTERNAL_ERROR",
        "retryable": False,
    }
    assert "stack" not in rest(task)["error"]
    texts = [redis.get(key) or b"" for key in redis.scan_iter(_type="string")]
    assert not any(b"a_function_of_ours" in text for text in texts)
    # Nor do RQ's pages, which only staff may see: they show the message.
    job = Job.fetch(str(task.pk), connection=redis, serializer=JSONSerializer)
    assert job.latest_result().exc_string == "no"
    stream = [entry[b"event"].decode() for _, entry in redis.xrange("plugspace:events")]
    assert not any("a_function_of_ours" in text or "stack" in text for text in stream)
