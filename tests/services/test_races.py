"""Many callers at once: quotas hold, keys are used once, a task ends once."""

from collections.abc import Callable
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import quota
from plugspace_queue.models import IdempotencyKey, MonthlyUsage, Task, UsageEntry
from plugspace_queue.services import termination
from tests.factories import arguments, completed_parents, make_organization
from tests.services.racing import race

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
        return termination.release_children(completed_parents(task.pk), now)


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a step of quotas, when it is for this type, wait a moment for the other caller's."""
    barrier = Barrier(2)

    def wait() -> None:
        try:
            barrier.wait(timeout=1)
        except BrokenBarrierError:
            # The other one waits for us elsewhere, as it should.
            return

    def meet(name: str, kinds: set[str], *, before: bool = False) -> None:
        real = getattr(quota, name)

        def step(asked: Any, *args: Any, **kwargs: Any) -> Any:
            accounts = asked if isinstance(asked, list) else [asked]
            is_met = any(account.type in kinds for account in accounts)
            if before and is_met:
                wait()
            counter = real(asked, *args, **kwargs)
            if not before and is_met:
                wait()
            return counter

        monkeypatch.setattr(quota, name, step)

    return meet


@pytest.mark.postgres
def test_a_cancel_and_a_submit_below_what_it_cancels_wait_for_each_other_in_one_order(meeting):
    make_organization(tier="enterprise")
    parent = queue_manager.add_task(**arguments(type="DESIGN"))
    child = queue_manager.add_task(**arguments(type="CODE", depends_on=[parent]))
    meeting("_give_back", {"DESIGN"})
    meeting("reserve", {"DESIGN"}, before=True)

    def call(number: int) -> Any:
        if number:
            return queue_manager.cancel(parent.pk)
        return queue_manager.add_task(**arguments(type="DESIGN", depends_on=[child]))

    grandchild, state = race(2, call)

    assert state == State.CANCELLED
    if isinstance(grandchild, Task):
        grandchild.refresh_from_db()
        assert grandchild.state == State.CANCELLED
    else:
        assert isinstance(grandchild, errors.InvalidState)
    assert not MonthlyUsage.objects.exclude(used=0).exists()


@pytest.mark.postgres
def test_a_cascade_and_a_submit_take_counters_in_one_order(meeting):
    make_organization(tier="enterprise")
    first = queue_manager.add_task(**arguments())
    second = queue_manager.add_task(**arguments(type="DESIGN", depends_on=[first]))
    queue_manager.add_task(**arguments(type="CODE", depends_on=[second]))
    meeting("_give_back", {"DESIGN", "CODE"})
    meeting("reserve", {"CODE"}, before=True)
    both = [arguments(type=kind) for kind in ("CODE", "DESIGN")]

    def call(number: int) -> Any:
        return queue_manager.cancel(first.pk) if number else queue_manager.add_tasks(both)

    added, state = race(2, call)

    assert state == State.CANCELLED
    assert len(added) == 2
    used = dict(MonthlyUsage.objects.values_list("type", "used"))
    assert used == {"ARCHITECT": 0, "CODE": 1, "DESIGN": 1}
