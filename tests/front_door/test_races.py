"""Many callers at once: quotas hold, keys are used once, a task ends once."""

import pytest
from django.db import transaction
from django.utils import timezone

from plugspace_queue import errors, keys, queue_manager
from plugspace_queue.models import IdempotencyKey, MonthlyUsage, Task, UsageEntry
from plugspace_queue.types import State
from plugspace_queue.workflows import advance
from tests.factories import arguments, make_organization
from tests.front_door.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_eight_racing_callers_never_take_more_than_a_quota_of_five():
    make_organization(tier="free")

    got = race(8, lambda _: queue_manager.add_task(**arguments(type="CODE")))

    assert sum(isinstance(one, Task) for one in got) == 5
    assert sum(isinstance(one, errors.QuotaExceeded) for one in got) == 3
    assert MonthlyUsage.objects.get().used == 5
    assert Task.objects.count() == 5


def test_racing_callers_with_one_key_make_one_task_and_all_get_it():
    make_organization()

    got = race(8, lambda _: queue_manager.add_task(**arguments(idempotency_key="once")))

    assert {one.pk for one in got} == {Task.objects.get().pk}
    assert MonthlyUsage.objects.get().used == 1
    assert IdempotencyKey.objects.count() == 1


def test_racing_callers_with_one_key_and_other_arguments_make_one_task():
    make_organization()

    got = race(
        6, lambda n: queue_manager.add_task(**arguments(idempotency_key="k", user_id=f"u{n}"))
    )

    assert sum(isinstance(one, Task) for one in got) == 1
    assert sum(isinstance(one, errors.IdempotencyConflict) for one in got) == 5
    assert UsageEntry.objects.count() == 1


def test_racing_cancels_end_a_task_once_and_refund_it_once(redis):
    make_organization()
    task = queue_manager.add_task(**arguments())

    got = race(6, lambda _: queue_manager.cancel(task.pk))

    assert got.count(State.CANCELLED) >= 1
    others = [one for one in got if one is not State.CANCELLED]
    assert all(isinstance(one, errors.InvalidState) for one in others)
    assert MonthlyUsage.objects.get().used == 0
    assert UsageEntry.objects.filter(reason="refund").count() == 1
    assert redis.llen(keys.wait("architect")) == 0


def test_a_cancel_that_races_with_a_start_has_one_outcome():
    make_organization()
    for _ in range(5):
        task = queue_manager.add_task(**arguments())

        def act(number: int, task: Task = task) -> object:
            if number:
                return queue_manager.cancel(task.pk)
            rows = Task.objects.filter(cancel_requested_at__isnull=True)
            return rows.move(
                task.pk, State.WAITING, State.PROCESSING, started_at=timezone.now(), fence=1
            )

        started, answer = race(2, act)

        task.refresh_from_db()
        # Redis knew nothing of that start: either the row was started first, or it is cancelled.
        assert task.state in (State.PROCESSING, State.CANCELLED)
        assert started is (task.started_at is not None)
        assert answer == task.state


def test_racing_retries_give_one_new_run_and_one_new_charge():
    make_organization()
    task = queue_manager.add_task(**arguments())
    queue_manager.cancel(task.pk)

    got = race(5, lambda _: queue_manager.retry(task.pk))

    assert sum(isinstance(one, Task) for one in got) == 1
    assert sum(isinstance(one, errors.InvalidState) for one in got) == 4
    assert MonthlyUsage.objects.get().used == 1


def test_two_parents_that_complete_at_once_release_their_child():
    make_organization()
    for _ in range(5):
        parents = [queue_manager.add_task(**arguments()) for _ in range(2)]
        child = queue_manager.add_task(**arguments(depends_on=parents))
        assert (child.state, child.open_deps) == (State.BLOCKED, 2)

        got = race(2, lambda n, parents=parents: complete(parents[n]))

        child.refresh_from_db()
        assert child.state == State.WAITING, got
        assert sorted(map(len, got)) == [0, 1]


def complete(task: Task) -> list[object]:
    now = timezone.now()
    with transaction.atomic():
        Task.objects.move(task.pk, State.WAITING, State.PROCESSING, started_at=now)
        Task.objects.move(task.pk, State.PROCESSING, State.COMPLETE, completed_at=now, result={})
        return advance.release_children([task.pk], now)
