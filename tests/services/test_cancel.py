"""Cancelling: what waits leaves the line and is refunded, what runs is told to stop."""

import json

import pytest
from django.db import transaction
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys, task_store
from plugspace_queue.broker.routing import ask
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance.expiry import finish_cancels
from plugspace_queue.models import MonthlyUsage, Task
from plugspace_queue.publishing import projections
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)


def start(task: Task) -> None:
    """A worker takes the task: a lease in Redis and the row's compare-and-set."""
    projections.write_queue(TaskType.ARCHITECT)
    grant = ask(task_store.acquire("architect", worker="w1", want=1, lease_ms=10_000), "architect")
    assert [lease.task_id for lease in grant.leases] == [str(task.pk)]
    fence = grant.leases[0].fence
    now = timezone.now()
    assert Task.objects.move(
        task.pk, State.WAITING, State.PROCESSING, started_at=now, fence=fence, deadline=None
    )


def test_a_waiting_task_is_withdrawn_cancelled_and_refunded(redis):
    make_organization()
    task = queue_manager.add_task(**arguments())

    assert queue_manager.cancel(task.pk) == State.CANCELLED

    row = Task.objects.get(pk=task.pk)
    assert (row.state, row.status, row.error["code"]) == (
        State.CANCELLED,
        Status.FAILED,
        "CANCELLED",
    )
    assert row.refunded_at
    assert MonthlyUsage.objects.get().used == 0
    assert redis.get(keys.usage("acme", "ARCHITECT", row.charged_month)) == b"0"
    assert redis.llen(keys.wait("architect")) == 0
    assert json.loads(redis.get(keys.task(str(task.pk))))["state"] == "cancelled"


def test_a_cancelled_task_is_told_as_failed_too(redis):
    make_organization()
    task = queue_manager.add_task(**arguments())

    queue_manager.cancel(task.pk)

    told = [json.loads(fields[b"event"]) for _, fields in redis.xrange(keys.events())]
    assert [event["name"] for event in told] == ["taskAdded", "taskCancelled", "taskFailed"]
    assert told[2]["error"]["code"] == "CANCELLED"


def test_a_running_task_is_marked_and_its_worker_is_told(redis):
    make_organization()
    task = queue_manager.add_task(**arguments())
    start(task)
    with redis.pubsub() as channel:
        channel.subscribe("rq:pubsub:w1")
        channel.get_message(timeout=1)

        assert queue_manager.cancel(task.pk) == State.PROCESSING

        message = json.loads(channel.get_message(timeout=2)["data"])
    assert (message["command"], message["job_id"]) == ("stop-job", str(task.pk))
    row = Task.objects.get(pk=task.pk)
    assert row.cancel_requested_at
    assert MonthlyUsage.objects.get().used == 1


def test_a_retrying_task_is_cancelled_without_a_refund():
    make_organization()
    task = queue_manager.add_task(**arguments())
    start(task)
    Task.objects.move(task.pk, State.PROCESSING, State.RETRYING)
    ask(task_store.empty("architect"), "architect")

    queue_manager.cancel(task.pk)

    assert MonthlyUsage.objects.get().used == 1


def test_what_hangs_on_a_cancelled_task_is_cancelled_and_refunded_too():
    make_organization()
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(depends_on=[parent]))
    grandchild = queue_manager.add_task(**arguments(depends_on=[child]))

    queue_manager.cancel(parent.pk)

    for task in (child, grandchild):
        task.refresh_from_db()
        assert (task.state, task.error["code"]) == (State.CANCELLED, "CANCELLED")
    assert MonthlyUsage.objects.get().used == 0


def test_a_blocked_task_is_cancelled_without_a_word_to_redis(redis_away):
    make_organization()
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(depends_on=[parent]))
    redis_away()

    assert queue_manager.cancel(child.pk) == State.CANCELLED


def test_without_redis_the_cancel_is_noted_and_finished_later(redis_away):
    make_organization()
    task = queue_manager.add_task(**arguments())
    come_back = redis_away()

    assert queue_manager.cancel(task.pk) == State.WAITING
    assert Task.objects.get(pk=task.pk).cancel_requested_at
    come_back()

    assert finish_cancels(timezone.now()) == 1
    assert Task.objects.get(pk=task.pk).state == State.CANCELLED


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAILED, State.CANCELLED, State.EXPIRED])
def test_what_has_ended_cannot_be_cancelled(state):
    task = make_task(state=state)

    with pytest.raises(errors.InvalidState) as refused:
        queue_manager.cancel(task.pk)

    assert refused.value.details["state"] == state


def test_another_organizations_task_is_not_there():
    task = make_task()
    make_organization("other")

    for call in (queue_manager.cancel, queue_manager.get_task, queue_manager.retry):
        with pytest.raises(errors.NotFound):
            call(task.pk, organization_id="other")
    for nothing in ("no id", "018f0000-0000-7000-8000-000000000000", None):
        with pytest.raises(errors.NotFound):
            queue_manager.get_task(nothing)


def test_submitting_and_cancelling_in_one_transaction_leaves_nothing_in_line(redis):
    make_organization()

    with transaction.atomic():
        task = queue_manager.add_task(**arguments())
        assert queue_manager.cancel(task.pk) == State.CANCELLED

    assert redis.llen(keys.wait("architect")) == 0
    assert MonthlyUsage.objects.get().used == 0


def test_a_rolled_back_cancel_leaves_the_task_as_it_was(redis):
    make_organization()
    task = queue_manager.add_task(**arguments())

    with pytest.raises(RuntimeError), transaction.atomic():
        queue_manager.cancel(task.pk)
        raise RuntimeError

    task.refresh_from_db()
    assert (task.state, task.cancel_requested_at) == (State.WAITING, None)
    assert MonthlyUsage.objects.get().used == 1
