"""Retries by hand: fresh, charged, and never in front of a parent that did not complete."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

USED_UP = {
    "retry_count": 3,
    "recovery_count": 1,
    "deferral_count": 2,
    "attempt_count": 4,
    "tokens_used": 70,
    "started_at": timezone.now(),
    "error": {"code": "TIMEOUT", "message": "no", "retryable": True},
    "charged_month": "2020-01",
}


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.EXPIRED])
def test_what_ended_badly_runs_again_with_fresh_retries(state, redis):
    task = make_task(state=state, **USED_UP)

    again = queue_manager.retry(task.pk)

    assert again.state == State.WAITING
    assert (again.retry_count, again.recovery_count, again.deferral_count) == (0, 0, 0)
    assert (again.error, again.completed_at, again.started_at) == (None, None, None)
    assert (again.attempt_count, again.tokens_used) == (4, 70)
    assert again.deadline > timezone.now() + timedelta(minutes=59)
    assert redis.lrange(keys.wait("architect"), 0, -1) == [str(task.pk).encode()]
    assert json.loads(redis.get(keys.task(str(task.pk))))["status"] == "pending"


def test_a_tenants_retry_is_one_new_charge_and_one_request(redis):
    task = make_task(state=State.FAILED, **USED_UP)

    again = queue_manager.retry(task.pk)

    assert MonthlyUsage.objects.get().used == 1
    assert again.charged_month == MonthlyUsage.objects.get().month
    assert redis.get(keys.ratelimit("acme")) == b"1"


def test_staff_gives_a_retry_away_with_a_reason(redis):
    task = make_task(state=State.FAILED, **USED_UP)

    again = queue_manager.retry(
        task.pk, charge=False, reason="our outage of Monday", limit_requests=False
    )

    assert again.charged_month == ""
    assert not MonthlyUsage.objects.exists()
    entry = UsageEntry.objects.get()
    assert (entry.units, entry.note) == (0, "our outage of Monday")
    assert redis.get(keys.ratelimit("acme")) is None
    queue_manager.cancel(task.pk)
    assert not MonthlyUsage.objects.exists()


def test_a_free_retry_needs_a_reason():
    task = make_task(state=State.FAILED)

    with pytest.raises(errors.ValidationRefused):
        queue_manager.retry(task.pk, charge=False, reason=" ")


@pytest.mark.parametrize("state", [State.WAITING, State.PROCESSING, State.COMPLETE, State.BLOCKED])
def test_only_what_ended_badly_is_retried(state):
    task = make_task(state=state)

    with pytest.raises(errors.InvalidState):
        queue_manager.retry(task.pk)


def test_a_retry_needs_quota():
    organization = make_organization(tier="free")
    queue_manager.add_task(**arguments(type="DEPLOY"))
    task = make_task(type="DEPLOY", organization=organization, state=State.FAILED)

    with pytest.raises(errors.QuotaExceeded):
        queue_manager.retry(task.pk)

    assert Task.objects.get(pk=task.pk).state == State.FAILED


def test_a_child_waits_for_its_parents_again():
    make_organization()
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(depends_on=[parent]))
    queue_manager.cancel(parent.pk)

    with pytest.raises(errors.InvalidState):
        queue_manager.retry(child.pk)
    queue_manager.retry(parent.pk)

    again = queue_manager.retry(child.pk)
    assert (again.state, again.open_deps, again.deadline) == (State.BLOCKED, 1, None)


def test_without_redis_a_retry_is_published_later(redis_away, redis):
    task = make_task(state=State.FAILED)
    come_back = redis_away()

    assert queue_manager.retry(task.pk).state == State.WAITING

    come_back()


def test_a_second_cancel_after_a_retry_has_events_of_its_own(redis):
    make_organization()
    task = queue_manager.add_task(**arguments())
    queue_manager.cancel(task.pk)
    queue_manager.retry(task.pk)
    queue_manager.cancel(task.pk)

    told = [json.loads(fields[b"event"]) for _, fields in redis.xrange(keys.events())]

    names = [event["name"] for event in told]
    assert names.count("taskCancelled") == names.count("taskAdded") == 2
    assert len({event["key"] for event in told}) == len(told)
