"""Every way an attempt can go leaves the same rows, events, settlements, signals and log records.

`attempts.json` was written by the code before the worker was rewritten. To write it anew, when a
difference is wanted: `PSQ_WRITE_ATTEMPTS=1 pytest tests/contracts/test_attempts.py`.
"""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from redis import Redis

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.maintenance import queue_config
from plugspace_queue.models import Organization, Task
from tests.contracts.attempt_run import Recording, recorded
from tests.support import wait_until
from tests.worker.conftest import (
    acme,
    children,
    fresh,
    processors,
    submit,
    work,
    working,
)

__all__ = ["acme", "children", "processors", "work"]

pytestmark = pytest.mark.usefixtures("acme")

FILE = Path(__file__).with_name("attempts.json")
QUICK = {"BACKOFF_DELAY": 0.01, "HARD_STOP": 0.3, "SHUTDOWN_GRACE": 0.3}


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    with recorded(caplog, monkeypatch) as recording:
        yield recording


@pytest.fixture
def compare(request: pytest.FixtureRequest, redis: Redis) -> Callable[[Recording], None]:
    """Compare a run with the one in the file."""
    name = request.node.name.removeprefix("test_")

    def check(recording: Recording) -> None:
        left = json.loads(json.dumps(recording.result(redis)))
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        # The databases keep the keys of JSON in different orders.
        of_vendor = known.setdefault(connection.vendor, {})
        if os.environ.get("PSQ_WRITE_ATTEMPTS"):
            of_vendor[name] = left
            FILE.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        assert lines(left) == lines(of_vendor[name])

    return check


def lines(left: Any) -> list[str]:
    """Line by line, as a difference is read best."""
    return json.dumps(left, indent=1, ensure_ascii=False, sort_keys=True).splitlines()


def until(task: Task, *states: str) -> None:
    wait_until(lambda: fresh(task).state in states, 20, f"{task} is not {states}")


VALUES: dict[str, Any] = {
    "null": None,
    "text": "Écriture \u2028 😀 \" \\ / \x7f </script> '",
    "number": 12345678901234567890,
    "float": [0.1, 1e300, -1.5e-7, 1e16, 1.0, 5e-324],
    "empty": {},
    "nested": {"é": [True, None, {"a": [[]]}], "1": "%s %% \t\n"},
    "middle": "x" * 500,
    "counted": "x" * 2_000,
    "large": "x" * 40_000,
}


@pytest.mark.parametrize("name", VALUES)
def test_completed_with(name, processors, work, run, compare):
    processors("ARCHITECT", lambda context: VALUES[name])
    run.name(task=submit(project_id='p "1" é', user_id="u\\2"))

    work("architect")

    compare(run)


@override_settings(PLUGSPACE_QUEUE={"SNAPSHOT_LIMIT": 4096})
def test_completed_after_a_long_prompt(processors, work, run, compare):
    processors("ARCHITECT", lambda context: {"length": len(context.input.prompt)})
    run.name(
        large=submit(input={"prompt": "x" * 5_000}),
        counted=submit(input={"prompt": "x" * 2_000, "context": {"industry": "Bäckerei"}}),
    )

    work("architect")

    compare(run)


@override_settings(PLUGSPACE_QUEUE={"RETENTION": {"complete": 3600}, "RESULT_TTL": 60})
def test_completed_with_usage_log_and_feedback(processors, work, run, compare):
    def architect(context: Any) -> Any:
        context.log("first line")
        context.log("Zeile \x00 2")
        context.record_usage(tokens=12, cost=Decimal("0.00000015"))
        context.record_usage(tokens=3, cost="1.5")
        return {"feedback": context.feedback, "iteration": context.iteration}

    processors("ARCHITECT", architect)
    task = submit(context={"userFeedback": ["größer", "b"], "maxIterations": 4})
    run.name(task=task)

    work("architect")

    compare(run)


def test_completed_on_the_event_loop(processors, work, run, compare):
    async def architect(context: Any) -> Any:
        await asyncio.sleep(0)
        return {"attempt": context.attempt}

    processors("ARCHITECT", architect)
    run.name(task=submit())

    work("architect")

    compare(run)


@pytest.mark.usefixtures("children")
def test_completed_in_a_child(processors, work, run, compare):
    processors("ARCHITECT", lambda context: None, isolation="process")
    task = submit(input={"prompt": "busy-once"})
    Task.objects.filter(pk=task.pk).update(attempt_count=1)
    run.name(task=task)

    work("architect")

    compare(run)


def test_told_its_progress(processors, run, compare, redis):
    gate = threading.Event()

    def architect(context: Any) -> Any:
        context.report_progress(40.5, stage="Hälfte")
        gate.wait(20)

    processors("ARCHITECT", architect)
    run.name(task=(task := submit()))
    with working("architect"):
        wait_until(lambda: b"taskProgress" in b"".join(texts(redis)))
        assert json.loads(redis.get(keys.task(str(task.pk))) or b"{}")["state"] == "processing"
        gate.set()
        until(task, "complete")

    compare(run)


def texts(redis: Redis) -> list[bytes]:
    return [fields[b"event"] for _, fields in redis.xrange(keys.events())]


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_failed_with_a_retry_and_then_for_good(processors, run, compare):
    def architect(context: Any) -> Any:
        context.record_usage(tokens=1)
        raise errors.ExternalServiceError(f"attempt {context.attempt}\nfailed: /srv/app/ü.txt")

    processors("ARCHITECT", architect)
    run.name(task=(task := submit(max_retries=1)), child=submit("DESIGN", depends_on=[task]))
    with working("architect"):
        until(task, "failed")
        wait_until(lambda: Task.objects.filter(type="DESIGN", state="cancelled").exists())

    compare(run)


@override_settings(PLUGSPACE_QUEUE=QUICK | {"REFUND_ON": ["INTERNAL_ERROR"]})
def test_failed_and_refunded(processors, work, run, compare):
    def architect(context: Any) -> Any:
        raise ValueError("the whole of it: /srv/app/x.txt")

    processors("ARCHITECT", architect)
    run.name(task=submit())

    work("architect")

    compare(run)


def test_failed_as_its_result_is_none(processors, work, run, compare):
    processors("ARCHITECT", lambda context: {1})
    run.name(task=submit())

    work("architect")

    compare(run)


def test_deferred(processors, work, run, compare):
    def architect(context: Any) -> Any:
        raise errors.RateLimited("later", retry_after=60)

    processors("ARCHITECT", architect)
    run.name(task=submit())

    work("architect")

    compare(run)


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_cancelled_while_it_ran(processors, run, compare):
    def architect(context: Any) -> Any:
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect)
    run.name(task=(task := submit()))
    with working("architect"):
        until(task, "processing")
        queue_manager.cancel(task.pk)
        until(task, "cancelled")

    compare(run)


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_timed_out(processors, run, compare):
    def architect(context: Any) -> Any:
        while True:
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect, timeout=0.3)
    run.name(task=(task := submit(max_retries=0)))
    with working("architect"):
        until(task, "failed")

    compare(run)


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_handed_back_at_the_end_of_its_worker(processors, run, compare):
    def architect(context: Any) -> Any:
        while True:
            threading.Event().wait(0.01)

    processors("ARCHITECT", architect)
    run.name(task=(task := submit()))
    with working("architect"):
        until(task, "processing")

    assert fresh(task).state == "waiting"
    compare(run)


@override_settings(PLUGSPACE_QUEUE={"LEASE": 1.0})
@pytest.mark.usefixtures("children")
@pytest.mark.slow
def test_reaped_after_its_worker_was_killed(processors, run, compare):
    processors("ARCHITECT", lambda context: None)
    run.name(task=(task := submit(input={"prompt": "busy-once"})))
    queue_config.repair(timezone.now())
    call = task_store.acquire("architect", worker="dead", want=1, lease_ms=1)
    (grant,) = scripts.run(client("architect", purpose="worker"), [call])
    Task.objects.filter(pk=task.pk).update(
        state="processing",
        fence=grant.leases[0].fence,
        attempt_count=1,
        started_at=timezone.now(),
        worker_name="dead",
    )
    with working("architect"):
        until(task, "complete")

    compare(run)


def test_not_now(processors, work, run, compare):
    processors("ARCHITECT", lambda context: {})
    run.name(task=(task := submit()))
    Task.objects.filter(pk=task.pk).update(wake_at=timezone.now() + timedelta(hours=1))

    work("architect")

    compare(run)


@pytest.mark.parametrize("why", ["cancelled", "expired", "lost", "final"])
def test_not_started_as_it_was(why, processors, work, run, compare):
    now = timezone.now()
    fields = {
        "cancelled": {"cancel_requested_at": now},
        "expired": {"deadline": now - timedelta(seconds=1)},
        "lost": {"recovery_count": 3},
        "final": {"state": "complete", "completed_at": now, "result": {"a": 1}},
    }[why]
    processors("ARCHITECT", lambda context: {})
    run.name(task=(task := submit()))
    Task.objects.filter(pk=task.pk).update(**fields)

    work("architect")

    compare(run)


def test_a_step_that_its_parents_release(processors, work, run, compare):
    processors("ARCHITECT", lambda context: None)
    processors("DESIGN", lambda context: {"of": sorted(map(len, context.results))})
    run.name(parent=(parent := submit()), child=submit("DESIGN", depends_on=[parent]))

    work("architect", "design")

    compare(run)


def test_the_steps_of_a_workflow(processors, work, run, compare, acme: Organization):
    processors("ARCHITECT", lambda context: None)
    processors("DESIGN", lambda context: None)
    processors("CODE", lambda context: {"of": sorted(context.results)})
    workflow = queue_manager.add_workflow(
        project_id="p1",
        user_id="u1",
        organization_id="acme",
        input={"prompt": "a site"},
        limit_requests=False,
    )
    steps = Task.objects.filter(workflow_id=workflow.workflow_id).order_by("step")
    run.name(**{f"step_{step.step}": step for step in steps})

    work("architect", "design", "code")

    compare(run)
