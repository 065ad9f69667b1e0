"""An organization moves to another tier; its waiting tasks only on request."""

import pytest
from django.db.models import F

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import policies
from plugspace_queue.models import Organization, Task
from plugspace_queue.services import tier_changes
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def acme() -> Organization:
    policies.clear_cache()
    return make_organization(tier="starter")


def add(count: int = 1, **given: object) -> list[Task]:
    return [
        queue_manager.add_task(**arguments(**given), limit_requests=False) for _ in range(count)
    ]


def priorities() -> list[int]:
    return list(Task.objects.order_by("pk").values_list("priority", flat=True))


def test_waiting_tasks_keep_their_priority_and_new_ones_have_that_of_the_tier():
    add(2)

    assert queue_manager.change_tier("acme", "enterprise") == 0

    add()
    assert priorities() == [2, 2, 0]
    assert Organization.objects.get(pk="acme").tier_id == "enterprise"


def test_on_request_waiting_tasks_move_and_those_that_were_lowered_stay(redis):
    waiting = add(2)
    add(priority=3)

    assert queue_manager.change_tier("acme", "enterprise", move_waiting=True) == 2

    assert priorities() == [0, 0, 3]
    lane = keys.lane("architect", 0, "acme")
    assert redis.lrange(lane, 0, -1) == [str(task.pk).encode() for task in waiting]
    assert redis.llen(keys.wait("architect")) == 3


def test_a_lower_tier_takes_the_priority_of_those_above_it_too():
    make_organization(tier="enterprise")
    add()
    add(priority=1)
    add(priority=3)

    assert queue_manager.change_tier("acme", "free", move_waiting=True) == 2

    assert priorities() == [3, 3, 3]


def test_without_a_tier_the_default_of_each_queue_counts():
    add(type="EXPORT")
    add(type="DEPLOY")

    assert queue_manager.change_tier("acme", None, move_waiting=True) == 2

    assert priorities() == [3, 1]


def test_tasks_that_run_or_ended_and_those_of_others_stay():
    acme = Organization.objects.get(pk="acme")
    for state in (State.PROCESSING, State.COMPLETE, State.BLOCKED):
        make_task(organization=acme, state=state)
    make_task(organization=make_organization("other"))

    assert queue_manager.change_tier("acme", "enterprise", move_waiting=True) == 1

    assert priorities() == [2, 2, 0, 2]


def test_all_batches_are_moved_and_a_worker_takes_them_by_their_new_priority(
    monkeypatch: pytest.MonkeyPatch, redis
):
    monkeypatch.setattr(tier_changes, "BATCH", 2)
    add(5)

    assert queue_manager.change_tier("acme", "enterprise", move_waiting=True) == 5

    assert set(priorities()) == {0}
    assert redis.llen(keys.wait("architect")) == 5
    bands = {
        redis.hget(f"rq:job:{pk}", "psq_prio") for pk in Task.objects.values_list("pk", flat=True)
    }
    assert bands == {b"0"}


def test_no_more_than_the_most_are_moved_in_one_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tier_changes, "BATCH", 2)
    monkeypatch.setattr(tier_changes, "MOST_MOVED", 4)
    add(5)

    assert queue_manager.change_tier("acme", "enterprise", move_waiting=True) == 4

    assert Task.objects.filter(priority=2).count() == 1


def test_without_redis_the_rows_have_the_new_priority(redis_away):
    add(2)
    come_back = redis_away()

    assert queue_manager.change_tier("acme", "enterprise", move_waiting=True) == 2

    come_back()
    assert priorities() == [0, 0]
    assert not Task.objects.filter(queued_at__gt=F("deadline")).exists()


@pytest.mark.parametrize("tier", ["nothing", 5])
def test_a_tier_that_is_not_there_changes_nothing(tier: str):
    add()

    with pytest.raises(errors.ValidationRefused):
        queue_manager.change_tier("acme", tier, move_waiting=True)

    assert priorities() == [2]
    with pytest.raises(errors.OrganizationUnknown):
        queue_manager.change_tier("nobody", "free")
