"""Pauses and limits are rows; Redis has them again whatever happened to it."""

import pytest
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys, routing
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance.queue_config import mend
from plugspace_queue.models import QueueSettings
from tests.factories import make_organization

pytestmark = pytest.mark.django_db(transaction=True)


def paused(redis, name):
    return redis.hget(keys.meta(name), "paused") == b"1"


def mend_all():
    for _ in TaskType:
        mend(timezone.now())


def test_a_fresh_redis_gets_the_gates_of_all_queues_at_once(redis):
    make_organization(is_paused=True, paused_at=timezone.now())
    QueueSettings.objects.filter(type="CODE").update(is_paused=True)

    assert mend(timezone.now()) is True

    assert paused(redis, "code")
    assert not paused(redis, "design")
    assert redis.hget(keys.meta("deploy"), "limiter") == b"10"
    assert redis.sismember(keys.paused_organizations(), "acme")
    assert mend(timezone.now()) is False


def test_a_redis_that_lost_its_data_gets_them_again(redis):
    queue_manager.pause("CODE")
    mend(timezone.now())
    redis.flushall()

    assert mend(timezone.now()) is True

    assert paused(redis, "code")


def test_a_pause_that_redis_did_not_hear_of_is_mended(redis, redis_away):
    make_organization()
    mend(timezone.now())
    come_back = redis_away()
    queue_manager.pause("CODE")
    queue_manager.pause(organization_id="acme")
    come_back()
    assert not paused(redis, "code")

    mend_all()

    assert paused(redis, "code")
    assert redis.sismember(keys.paused_organizations(), "acme")


def test_a_resume_that_redis_did_not_hear_of_is_mended(redis, redis_away):
    make_organization()
    queue_manager.pause(organization_id="acme")
    mend(timezone.now())
    come_back = redis_away()
    queue_manager.resume(organization_id="acme")
    come_back()

    mend_all()

    assert not redis.sismember(keys.paused_organizations(), "acme")


def test_the_pauses_of_many_organizations_are_written_in_one_round_trip(redis, monkeypatch):
    for number in range(50):
        make_organization(f"o{number}", is_paused=True, paused_at=timezone.now())
    mend(timezone.now())
    trips = []
    real = routing.scripts.run
    monkeypatch.setattr(routing.scripts, "run", lambda *call: trips.append(call) or real(*call))

    mend(timezone.now())

    assert len(trips) == 1
    assert redis.scard(keys.paused_organizations()) == 50


def test_gates_that_somebody_deleted_are_written_again_at_once(redis):
    queue_manager.pause("CODE")
    mend(timezone.now())
    redis.delete(keys.meta("code"))

    assert mend(timezone.now()) is True

    assert paused(redis, "code")
