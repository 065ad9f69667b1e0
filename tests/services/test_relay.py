"""What a commit left unpublished is published later; Redis may lose everything."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue import metrics, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.maintenance import relay
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import MonthlyUsage, Task
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_redis_a_submit_is_accepted_and_published_later(redis_away, redis):
    make_organization()
    come_back = redis_away()
    before = metrics.unsent(metrics.UNCOUNTED)

    task = queue_manager.add_task(**arguments())

    assert task.state == State.WAITING
    assert metrics.unsent(metrics.UNCOUNTED) == before + 1
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
    rotation = RowCursor()

    seen = [task.pk for _ in range(4) for task in rotation.next_slice(2)]

    assert set(seen) == {task.pk for task in made}


def test_old_unpublished_tasks_are_found_by_the_rotation(redis):
    now = timezone.now()
    task = make_task()

    assert relay.relay(now + timedelta(minutes=5), RowCursor()) == 1
    assert redis.lrange(keys.wait("architect"), 0, -1) == [str(task.pk).encode()]


def test_ids_made_at_a_moment_are_not_below_its_first_id():
    before = timezone.now() - timedelta(milliseconds=1)

    assert relay.first_id_of(before) <= new_id()
    assert relay.first_id_of(timezone.now() + timedelta(seconds=5)) > new_id()


def test_a_look_at_what_waits_does_not_read_what_is_in_it(redis):
    make_organization()
    queue_manager.add_task(**arguments())

    with CaptureQueriesContext(connection) as queries:
        assert relay.relay(timezone.now(), RowCursor()) == 0

    assert not [one["sql"] for one in queries if '."input"' in one["sql"]]


def test_after_a_loss_everything_is_published_in_one_go(redis, monkeypatch):
    monkeypatch.setattr(relay, "SLICE", 4)
    monkeypatch.setattr(relay, "WHOLE", 3)
    for kind in ("CODE", "DESIGN", "ARCHITECT") * 7:
        make_task(type=kind)
    redis.flushall()

    later = timezone.now() + timedelta(minutes=5)
    assert relay.relay(later, RowCursor()) == 21
    assert [redis.llen(keys.wait(name)) for name in ("code", "design", "architect")] == [7, 7, 7]


def test_publishing_after_a_loss_ends_when_the_worker_does(redis, monkeypatch):
    monkeypatch.setattr(relay, "SLICE", 4)
    for _ in range(9):
        make_task()
    redis.flushall()

    later = timezone.now() + timedelta(minutes=5)
    assert relay.relay(later, RowCursor(), goes_on=lambda: False) == 4


def test_a_retry_that_is_published_again_is_in_front_of_its_lane(redis):
    make_organization()
    first, second, later = (queue_manager.add_task(**arguments()) for _ in range(3))
    Task.objects.filter(pk=second.pk).update(state=State.RETRYING, wake_at=timezone.now())
    due = timezone.now() + timedelta(minutes=1)
    Task.objects.filter(pk=later.pk).update(state=State.RETRYING, wake_at=due)
    redis.flushall()

    relay.relay(timezone.now())

    lane = keys.lane("architect", first.priority, "acme")
    assert redis.lrange(lane, 0, -1) == [str(task.pk).encode() for task in (second, first)]
    assert redis.hget(f"rq:job:{later.pk}", "psq_front") == b"1"
