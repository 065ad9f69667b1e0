"""What a commit left unpublished is published later; Redis may lose everything."""

from datetime import timedelta

import pytest
from django.utils import timezone

from plugspace_queue import keys, limits, queue_manager, relay
from plugspace_queue.ids import new_id
from plugspace_queue.models import MonthlyUsage
from plugspace_queue.relay import Rotation
from plugspace_queue.types import State
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_redis_a_submit_is_accepted_and_published_later(redis_away, redis):
    make_organization()
    come_back = redis_away()
    before = limits.opened()

    task = queue_manager.add_task(**arguments())

    assert task.state == State.WAITING
    assert limits.opened() == before + 1
    assert MonthlyUsage.objects.get().used == 1
    come_back()
    assert relay.relay(timezone.now()) == 1
    assert redis.lrange(keys.wait("architect"), 0, -1) == [str(task.pk).encode()]
    assert relay.relay(timezone.now()) == 0


def test_after_redis_lost_everything_all_that_waits_is_in_line_again(redis):
    make_organization()
    queue_manager.add_tasks([arguments(type=kind) for kind in ("CODE", "CODE", "DESIGN")])
    later = timezone.now() + timedelta(hours=1)
    queue_manager.add_task(**arguments(run_at=later))
    redis.flushall()

    assert relay.relay(timezone.now()) == 4

    assert redis.llen(keys.wait("code")) == 2
    assert redis.llen(keys.wait("design")) == 1
    assert redis.zcard("rq:scheduled:architect") == 1


def test_blocked_running_and_ended_tasks_are_not_published(redis):
    for state in (State.BLOCKED, State.PROCESSING, State.COMPLETE, State.CANCELLED):
        make_task(state=state)

    assert relay.relay(timezone.now()) == 0


def test_old_tasks_come_round_in_slices():
    made = [make_task(type=kind) for kind in ("CODE", "ARCHITECT", "CODE", "EXPORT", "CODE")]
    rotation = Rotation()

    seen = [task.pk for _ in range(4) for task in rotation.next_slice(2)]

    assert set(seen) == {task.pk for task in made}


def test_old_unpublished_tasks_are_found_by_the_rotation(redis):
    now = timezone.now()
    task = make_task()

    assert relay.relay(now + timedelta(minutes=5), Rotation()) == 1
    assert redis.lrange(keys.wait("architect"), 0, -1) == [str(task.pk).encode()]


def test_ids_made_at_a_moment_are_not_below_its_first_id():
    before = timezone.now() - timedelta(milliseconds=1)

    assert relay.first_id_of(before) <= new_id()
    assert relay.first_id_of(timezone.now() + timedelta(seconds=5)) > new_id()
