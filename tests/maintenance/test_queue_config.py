"""Pauses and limits are rows; Redis has them again whatever happened to it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys, routing
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.queue_config import OverrideWatch, repair
from plugspace_queue.maintenance.reconcile.structures import compare_settings
from plugspace_queue.models import QueueSettings
from plugspace_queue.publishing import projections
from tests.factories import make_organization
from tests.support import took, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def paused(redis, name):
    return redis.hget(keys.meta(name), "paused") == b"1"


def mend_all():
    for _ in TaskType:
        repair(timezone.now())


def test_a_fresh_redis_gets_the_gates_of_all_queues_at_once(redis):
    make_organization(is_paused=True, paused_at=timezone.now())
    QueueSettings.objects.filter(type="CODE").update(is_paused=True)

    assert repair(timezone.now()) is True

    assert paused(redis, "code")
    assert not paused(redis, "design")
    assert redis.hget(keys.meta("deploy"), "limiter") == b"10"
    assert redis.sismember(keys.paused_organizations(), "acme")
    assert repair(timezone.now()) is False


def test_a_redis_that_lost_its_data_gets_them_again(redis):
    queue_manager.pause("CODE")
    repair(timezone.now())
    redis.flushall()

    assert repair(timezone.now()) is True

    assert paused(redis, "code")


def test_a_pause_that_redis_did_not_hear_of_is_mended(redis, redis_away):
    make_organization()
    repair(timezone.now())
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
    repair(timezone.now())
    come_back = redis_away()
    queue_manager.resume(organization_id="acme")
    come_back()

    mend_all()

    assert not redis.sismember(keys.paused_organizations(), "acme")


def test_the_pauses_of_many_organizations_are_written_in_one_round_trip(redis, monkeypatch):
    for number in range(50):
        make_organization(f"o{number}", is_paused=True, paused_at=timezone.now())
    repair(timezone.now())
    trips = []
    real = routing.scripts.run_each
    monkeypatch.setattr(
        routing.scripts, "run_each", lambda *call: trips.append(call) or real(*call)
    )

    repair(timezone.now())

    assert len(trips) == 1
    assert redis.scard(keys.paused_organizations()) == 50


def test_gates_that_somebody_deleted_are_written_again_at_once(redis):
    queue_manager.pause("CODE")
    repair(timezone.now())
    redis.delete(keys.meta("code"))

    assert repair(timezone.now()) is True

    assert paused(redis, "code")


def gates(redis, name="code"):
    """Starts, window in ms and cap per organization, as Lua reads them."""
    return [
        int(value) for value in redis.hmget(keys.meta(name), "limiter", "limiter_ms", "org_cap")
    ]


HOUR = timedelta(hours=1)


def override_code(starts, until):
    return queue_manager.override_queue(
        "CODE",
        limiter={"max": 200, "duration": 30},
        organization_concurrency=9,
        starts=starts,
        until=until,
        reason="launch",
    )


def test_gates_change_when_an_override_begins_and_back_when_it_ends(redis):
    now = timezone.now()
    watch = OverrideWatch()
    mend_all()
    override_code(now + HOUR, now + 2 * HOUR)
    assert (watch.turn(now), gates(redis)) == ([TaskType.CODE], [50, 60_000, 0])
    assert watch.turn(now) == []

    assert watch.turn(now + HOUR) == [TaskType.CODE]
    assert gates(redis) == [200, 30_000, 9]
    assert watch.turn(now + 1.5 * HOUR) == []

    assert watch.turn(now + 2 * HOUR) == [TaskType.CODE]
    assert gates(redis) == [50, 60_000, 0]
    assert watch.turn(now + 3 * HOUR) == []


def test_a_worker_that_read_the_rows_before_the_change_does_not_undo_it(redis):
    now = timezone.now()
    mend_all()
    override_code(now + HOUR, now + 2 * HOUR)
    late = [
        projections.gates_of(TaskType.CODE, now + moment) for moment in (0.9 * HOUR, 1.9 * HOUR)
    ]
    watch = OverrideWatch()

    watch.turn(now + HOUR)
    routing.ask(late[0], "code")
    assert gates(redis) == [200, 30_000, 9]
    watch.turn(now + 2 * HOUR)
    routing.ask(late[1], "code")

    assert gates(redis) == [50, 60_000, 0]


def test_an_override_that_ended_while_no_worker_ran_is_taken_back_by_the_next_one(redis):
    now = timezone.now()
    mend_all()
    override_code(now, now + HOUR)
    assert gates(redis) == [200, 30_000, 9]

    assert OverrideWatch().turn(now + HOUR) == [TaskType.CODE]

    assert gates(redis) == [50, 60_000, 0]


def test_a_change_that_redis_did_not_hear_of_is_written_when_it_is_back(redis, redis_away):
    now = timezone.now()
    mend_all()
    watch = OverrideWatch()
    watch.turn(now)
    come_back = redis_away()
    override_code(now, now + HOUR)
    with pytest.raises(Unavailable):
        watch.turn(timezone.now())
    come_back()

    assert watch.turn(timezone.now()) == [TaskType.CODE]

    assert gates(redis) == [200, 30_000, 9]


def test_nothing_is_written_where_there_is_no_override(redis):
    watch = OverrideWatch()

    assert [watch.turn(timezone.now()) for _ in range(2)] == [[], []]
    assert not redis.exists(keys.meta("code"))


def test_an_override_is_no_finding_when_it_is_to_come_in_force_or_over(redis):
    now = timezone.now()
    mend_all()
    override_code(now, now + HOUR)
    override_code(now + 2 * HOUR, now + 3 * HOUR)
    watch = OverrideWatch()

    def found(moment):
        return [
            finding.code for finding in compare_settings(client("code"), [TaskType.CODE], moment)
        ]

    for moment in (timezone.now(), now + HOUR, now + 2 * HOUR, now + 3 * HOUR):
        watch.turn(moment)
        assert found(moment) == []
    # The end of one that no worker has seen is a finding, and the copy is written then.
    override_code(now + 4 * HOUR, now + 5 * HOUR)
    assert found(now + 4 * HOUR) == ["gates_differ"]


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_worker_has_a_limit_in_force_from_its_start_to_its_end(redis, crew):
    crew("architect")
    starts = timezone.now() + timedelta(seconds=2)
    override_code(starts, starts + timedelta(seconds=2))

    def since(is_overridden):
        wait_until(lambda: redis.exists(keys.meta("code")), 20)
        wait_until(lambda: (gates(redis) == [200, 30_000, 9]) is is_overridden, 20)
        return timezone.now()

    assert since(False) < starts + HOUR
    begun = since(True)
    ended = since(False)
    took((begun - starts).total_seconds(), 1.0, "an override until it is in force")
    took((ended - starts).total_seconds() - 2, 1.0, "an override until it is over")
    assert (begun >= starts, ended >= starts + timedelta(seconds=2)) == (True, True)
