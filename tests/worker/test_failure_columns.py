"""Whatever ends a task without completing it writes why into its columns, and counts it once."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Sum
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import errors, queue_manager, signals
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.fingerprint import LONGEST_CODE
from plugspace_queue.maintenance import expiry
from plugspace_queue.models import FailureGroup, FailureMinute, Task, Workflow
from plugspace_queue.services import failure_counts
from tests.factories import make_organization
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme", "forgotten")

QUICK = {"BACKOFF_DELAY": 0.01}


@pytest.fixture
def forgotten() -> None:
    """Nothing is left to count of the tests before."""
    failure_counts.discard()


def why(task: Task) -> tuple[str, str, bool]:
    """State, code, and whether there is a fingerprint."""
    row = fresh(task)
    return row.state, row.error_code, bool(row.fingerprint)


def counted() -> list[tuple[str, str, str, int]]:
    """Of each group and organization, how many were counted in all minutes."""
    failure_counts.flush()
    rows = FailureMinute.objects.values_list("group__type", "group__code", "organization_id")
    return list(rows.annotate(Sum("n")).order_by("group__type"))


def palette(context: Any) -> Any:
    return {}["palette"]


def test_a_failed_attempt_tells_code_and_cause(processors, work):
    processors("ARCHITECT", palette)
    tasks = [submit(), submit()]

    work("architect")

    first, second = (fresh(task) for task in tasks)
    assert why(first) == ("failed", "INTERNAL_ERROR", True)
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint.startswith("1:")
    group = FailureGroup.objects.get()
    assert (group.type, group.code) == ("ARCHITECT", "INTERNAL_ERROR")
    assert group.fingerprint == first.fingerprint
    assert (group.cause, group.total) == ("KeyError: 'palette'", 2)
    assert group.task_id in (first.pk, second.pk)
    assert "in palette" in group.stack
    assert group.first_seen <= group.last_seen
    assert counted() == [("ARCHITECT", "INTERNAL_ERROR", "acme", 2)]


def test_the_stack_of_a_deep_failure_keeps_its_end(processors, work):
    def even(n: int) -> None:
        odd(n - 1)

    def odd(n: int) -> None:
        if n <= 1:
            raise ValueError("too deep")
        even(n - 1)

    processors("ARCHITECT", lambda context: even(300))
    task = submit()

    work("architect")

    stack = fresh(task).error["stack"]
    assert len(stack.encode()) <= 16 * 1024
    assert stack.startswith("Traceback")
    assert stack.rstrip().endswith("ValueError: too deep")
    assert FailureGroup.objects.get().stack.rstrip().endswith("ValueError: too deep")


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_a_task_that_will_run_again_or_has_completed_has_no_code(processors, crew, until_final):
    seen = []

    def architect(context: Any) -> Any:
        seen.append(why(Task(pk=context.task_id)))
        if len(seen) < 3:
            raise errors.ExternalServiceError("away")
        return {}

    processors("ARCHITECT", architect)
    crew("architect")
    task = until_final(submit())

    assert seen == [("processing", "", False)] * 3
    assert why(task) == ("complete", "", False)
    assert counted() == []


@override_settings(PLUGSPACE_QUEUE=QUICK)
def test_retries_that_are_used_up_are_one_failure(processors, crew, until_final):
    def architect(context: Any) -> Any:
        raise errors.ExternalServiceError(f"away since {context.attempt} s")

    processors("ARCHITECT", architect)
    crew("architect")
    task = until_final(submit(max_retries=2))

    assert why(task) == ("failed", "EXTERNAL_SERVICE_ERROR", True)
    wait_until(counted)
    assert counted() == [("ARCHITECT", "EXTERNAL_SERVICE_ERROR", "acme", 1)]


def test_a_code_longer_than_its_column_is_shortened(processors, work):
    def architect(context: Any) -> Any:
        raise errors.TaskError("x", code="MINE" * 40)

    processors("ARCHITECT", architect)
    task = submit()

    work("architect")

    row = fresh(task)
    assert len(row.error_code) == LONGEST_CODE
    assert row.error["code"] == "MINE" * 40
    assert FailureGroup.objects.get().code == row.error_code


def test_a_cancelled_attempt_has_a_code_and_is_no_failure(processors, work):
    def architect(context: Any) -> Any:
        raise errors.TaskCancelled

    processors("ARCHITECT", architect)
    task = submit()

    work("architect")

    assert why(task) == ("cancelled", "CANCELLED", False)
    assert counted() == []


def test_a_cancelled_waiting_task_has_a_code():
    task = submit()

    queue_manager.cancel(task.pk)

    assert why(task) == ("cancelled", "CANCELLED", False)
    assert counted() == []


def test_what_hangs_on_a_failed_task_is_cancelled_with_a_code(processors, work):
    processors("ARCHITECT", palette)
    parent = submit()
    child = submit("DESIGN", depends_on=[parent.pk])

    work("architect")

    assert why(child) == ("cancelled", "CANCELLED", False)
    assert counted() == [("ARCHITECT", "INTERNAL_ERROR", "acme", 1)]


def test_expired_tasks_are_one_group_whatever_their_ttl():
    tasks = [submit(ttl=60), submit(ttl=61)]
    Task.objects.update(deadline=timezone.now() - timedelta(seconds=1))

    expiry.expire_due(timezone.now())

    assert [why(task) for task in tasks] == [("expired", "EXPIRED", True)] * 2
    assert counted() == [("ARCHITECT", "EXPIRED", "acme", 2)]
    assert FailureGroup.objects.get().cause.startswith("Not started within its ttl")


def test_a_task_whose_workers_died_has_a_code_and_is_counted(processors, work):
    processors("ARCHITECT", lambda context: {})
    task = submit()
    Task.objects.filter(pk=task.pk).update(recovery_count=9)

    work("architect")

    assert why(task) == ("failed", "WORKER_LOST", True)
    assert counted() == [("ARCHITECT", "WORKER_LOST", "acme", 1)]


def test_a_retry_by_hand_forgets_code_and_cause(processors, work):
    processors("ARCHITECT", palette)
    task = submit()
    work("architect")

    queue_manager.retry(task.pk, limit_requests=False)

    assert why(task) == ("waiting", "", False)


@pytest.mark.slow
def test_timeouts_are_one_group_wherever_they_meet_the_code(processors, work):
    def here(context: Any) -> None:
        while True:
            context.check_cancelled()

    def there(context: Any) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass

    for function in (here, there):
        processors("ARCHITECT", function, timeout=0.1)
        submit(max_retries=0)
        work("architect")

    assert FailureGroup.objects.get().code == "TIMEOUT"
    assert counted() == [("ARCHITECT", "TIMEOUT", "acme", 2)]


def test_every_submit_writes_the_tier_at_acceptance():
    make_organization("small", tier="starter")
    make_organization("bare", tier=None)
    given = {"project_id": "p", "user_id": "u", "input": {"prompt": "x"}}
    one = queue_manager.add_task("ARCHITECT", organization_id="small", **given)
    many = queue_manager.add_tasks(
        [{"type": "ARCHITECT", "organization_id": name, **given} for name in ("small", "bare")]
    )
    flow = queue_manager.add_workflow("p", "u", "small", {"prompt": "x"})
    keyed = queue_manager.add_task(
        "ARCHITECT", organization_id="small", idempotency_key="k", **given
    )

    queue_manager.set_organization("small", tier="enterprise")

    assert [fresh(task).tier for task in (one, *many, keyed)] == ["starter"] * 2 + ["", "starter"]
    steps = Workflow.objects.get(pk=flow.workflow_id).tasks.values_list("tier", flat=True)
    assert set(steps) == {"starter"}


def test_the_tier_survives_a_retry_and_is_read_by_receivers(processors, work):
    heard = []

    def hear(sender: Any, task: Task, **told: Any) -> None:
        heard.append((task.tier, task.error_code, bool(task.fingerprint)))

    processors("ARCHITECT", palette)
    task = submit()
    signals.task_failed.connect(hear)
    try:
        work("architect")
    finally:
        signals.task_failed.disconnect(hear)

    assert heard == [("enterprise", "INTERNAL_ERROR", True)]
    queue_manager.retry(task.pk, limit_requests=False)
    assert (fresh(task).tier, fresh(task).state) == ("enterprise", State.WAITING)
