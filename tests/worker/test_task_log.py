"""Each attempt that ended is one record of `plugspace_queue.tasks`; each that failed a signal."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import errors, queue_manager, signals
from plugspace_queue.maintenance.rescue import recover
from plugspace_queue.models import Task
from plugspace_queue.testing import processors as stubs
from plugspace_queue.testing import run_pending
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")

FIELDS = ("taskId", "type", "organization", "attempt", "code", "retryCount", "worker")
QUICK = {"BACKOFF_DELAY": 0.01, "HARD_STOP": 0.5}


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Any:
    """The records of ended attempts so far."""
    caplog.set_level(logging.INFO, "plugspace_queue.tasks")

    def ended() -> list[Any]:
        return [one for one in caplog.records if hasattr(one, "retryCount")]

    return ended


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """What receivers of `task_attempt_failed` got."""
    heard: list[dict[str, Any]] = []

    def hear(**kwargs: Any) -> None:
        heard.append(kwargs)

    signals.task_attempt_failed.connect(hear)
    yield heard
    signals.task_attempt_failed.disconnect(hear)


def fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS}


def test_a_completed_attempt_is_one_record_at_info(processors, work, records, told):
    processors("ARCHITECT", lambda context: {"ok": 1})
    task = submit()

    work("architect")

    (record,) = records()
    assert (record.name, record.levelno, record.exc_info) == (
        "plugspace_queue.tasks",
        logging.INFO,
        None,
    )
    assert fields(record) == {
        "taskId": str(task.pk),
        "type": "ARCHITECT",
        "organization": "acme",
        "attempt": 1,
        "code": None,
        "retryCount": 0,
        "worker": "w1",
    }
    assert told == []


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_retried_attempt_is_a_warning_and_the_last_one_an_error_each_with_its_traceback(
    processors, crew, until_final, records, told
):
    raised = errors.ExternalServiceError("the host is away\nERROR forged: line")

    def architect(context: Any) -> Any:
        raise raised

    processors("ARCHITECT", architect)
    task = submit(max_retries=1)
    crew("architect")
    until_final(task)

    first, second = wait_for(records, 2)
    assert (first.levelno, second.levelno) == (logging.WARNING, logging.ERROR)
    assert [(one.attempt, one.retryCount, one.code) for one in (first, second)] == [
        (1, 1, "EXTERNAL_SERVICE_ERROR"),
        (2, 1, "EXTERNAL_SERVICE_ERROR"),
    ]
    assert first.error == "the host is away\nERROR forged: line"
    assert "\n" not in first.getMessage() and "the host is away" in first.getMessage()
    assert all(one.exc_info[1] is raised for one in (first, second))
    assert "in architect" in logging.Formatter().formatException(first.exc_info)
    assert [(one["attempt"], one["will_retry"]) for one in told] == [(1, True), (2, False)]
    assert {name: told[0][name] for name in ("task_id", "type", "organization_id")} == {
        "task_id": str(task.pk),
        "type": "ARCHITECT",
        "organization_id": "acme",
    }
    assert told[0]["exception"] is raised and told[0]["sender"] is Task


def wait_for(records: Any, count: int) -> list[Any]:
    wait_until(lambda: len(records()) >= count, 10)
    assert len(records()) == count
    return records()


def test_the_log_has_the_whole_message_of_an_unknown_exception(processors, work, records):
    def architect(context: Any) -> Any:
        raise ValueError("cannot read /srv/app/x.txt")

    processors("ARCHITECT", architect)
    submit()

    work("architect")

    (record,) = records()
    assert (record.code, record.error) == ("INTERNAL_ERROR", "cannot read /srv/app/x.txt")


def test_a_provider_that_asks_to_wait_is_a_warning(processors, work, records, told):
    def architect(context: Any) -> Any:
        raise errors.RateLimited("later", retry_after=60)

    processors("ARCHITECT", architect)
    submit()

    work("architect")

    (record,) = records()
    assert (record.levelno, record.code, record.retryCount) == (logging.WARNING, "RATE_LIMITED", 0)
    assert [one["will_retry"] for one in told] == [True]


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_timeout_says_where_the_attempt_was(processors, crew, until_final, records, told):
    def linger() -> None:
        while True:
            threading.Event().wait(0.01)

    processors("ARCHITECT", lambda context: linger(), timeout=0.3)
    until_final_of = submit(max_retries=0)
    crew("architect")
    until_final(until_final_of)

    (record,) = wait_for(records, 1)
    assert (record.levelno, record.code) == (logging.ERROR, "TIMEOUT")
    assert "in linger" in logging.Formatter().formatException(record.exc_info)
    assert isinstance(told[0]["exception"], errors.TaskTimeout)


def test_a_cancelled_attempt_is_no_failure(processors, crew, until_final, records, told):
    def architect(context: Any) -> Any:
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect)
    task = submit()
    crew("architect")
    wait_until(lambda: fresh(task).state == "processing", 10)
    queue_manager.cancel(task.pk)
    until_final(task)

    (record,) = wait_for(records, 1)
    assert (record.levelno, record.code, record.exc_info) == (logging.INFO, "CANCELLED", None)
    assert told == []


def test_a_result_that_is_invalid_is_an_error(processors, work, records, told):
    processors("ARCHITECT", lambda context: {1, 2})
    submit()

    work("architect")

    (record,) = records()
    assert (record.levelno, record.code) == (logging.ERROR, "INVALID_RESULT")
    assert isinstance(told[0]["exception"], errors.InvalidResult)


def raising(**kwargs: Any) -> None:
    raise LookupError("a receiver's own trouble")


def test_a_receiver_that_raises_is_logged_and_changes_nothing(
    processors, work, records, told, caplog
):
    receiver = partial(raising)
    signals.task_attempt_failed.connect(receiver)
    try:
        processors("ARCHITECT", lambda context: {1, 2})
        tasks = [submit(), submit()]
        work("architect")
    finally:
        signals.task_attempt_failed.disconnect(receiver)

    assert [fresh(task).state for task in tasks] == ["failed", "failed"]
    assert len(told) == len(records()) == 2
    troubles = [one for one in caplog.records if "a receiver's own" in str(one.exc_info)]
    assert [one.name for one in troubles] == ["plugspace_queue.events"] * 2


class Hostile(Exception):
    """An error whose words make trouble."""

    def __str__(self) -> str:
        raise SystemExit("no words")


def test_an_error_that_cannot_say_what_it_is_is_logged_all_the_same(
    processors, work, records, told
):
    def architect(context: Any) -> Any:
        raise Hostile

    processors("ARCHITECT", architect)
    submit()

    work("architect")

    (record,) = records()
    assert (record.levelno, record.error) == (logging.ERROR, "Hostile")
    assert "in architect" in logging.Formatter().formatException(record.exc_info)
    assert len(told) == 1


def processing(**changes: Any) -> Task:
    """A row that a worker was running when it died."""
    task = submit()
    fields: dict[str, Any] = {
        "state": "processing",
        "fence": 7,
        "worker_name": "dead",
        "attempt_count": 1,
        "started_at": timezone.now() - timedelta(seconds=20),
        "deadline": None,
    }
    Task.objects.filter(pk=task.pk).update(**(fields | changes))
    return task


def test_an_attempt_that_was_lost_with_its_worker_is_a_warning(records, told):
    task = processing()

    assert recover(task.pk, 7, timezone.now())
    assert not recover(task.pk, 7, timezone.now())

    (record,) = records()
    assert (record.levelno, record.code, record.worker) == (logging.WARNING, "WORKER_LOST", "dead")
    assert [(one["attempt"], one["will_retry"]) for one in told] == [(1, True)]
    assert told[0]["exception"].code == "WORKER_LOST"


def test_the_last_death_that_a_task_survives_not_is_an_error(records, told):
    task = processing(recovery_count=3, attempt_count=4)

    assert recover(task.pk, 7, timezone.now())

    (record,) = records()
    assert (record.levelno, record.code, record.attempt) == (logging.ERROR, "WORKER_LOST", 4)
    assert [one["will_retry"] for one in told] == [False]


def test_each_change_of_state_is_a_record_at_debug(processors, work, caplog):
    caplog.set_level(logging.DEBUG, "plugspace_queue.tasks")
    processors("ARCHITECT", lambda context: {})
    first, second = submit(), submit()
    child = submit(depends_on=[first])
    queue_manager.cancel(second.pk)
    queue_manager.retry(second.pk, limit_requests=False)
    queue_manager.cancel(second.pk)

    work("architect")

    def states(task: Task) -> list[str]:
        return [
            one.state
            for one in caplog.records
            if getattr(one, "taskId", "") == str(task.pk) and hasattr(one, "state")
        ]

    assert {one.levelno for one in caplog.records if hasattr(one, "state")} == {logging.DEBUG}
    assert states(first) == ["processing", "complete"]
    assert states(second) == ["cancelled", "waiting", "cancelled"]
    assert states(child) == ["waiting", "processing", "complete"]


def test_a_change_that_is_rolled_back_is_no_record(caplog):
    caplog.set_level(logging.DEBUG, "plugspace_queue.tasks")
    task = submit()
    caplog.clear()

    with transaction.atomic():
        queue_manager.cancel(task.pk)
        transaction.set_rollback(True)

    assert [one for one in caplog.records if hasattr(one, "state")] == []


def test_the_tests_of_a_host_project_get_the_signal_too(told):
    def fails(context: Any) -> Any:
        raise ValueError("as asked")

    with stubs({"ARCHITECT": fails}):
        submit()
        run_pending("ARCHITECT")

    assert [str(one["exception"]) for one in told] == ["as asked"]
