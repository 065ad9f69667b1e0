"""Hundreds of cancels of one organization beside the maintenance that workers do all the time."""

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import expiry, queue_config, relay, rescue
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry
from tests.factories import arguments
from tests.maintenance.scene import kinds_found, reconcile
from tests.services.racing import race
from tests.worker.conftest import acme  # noqa: F401

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(240), pytest.mark.slow]

TASKS, CALLERS, STARTED = 400, 8, 40
"""Tasks, threads that cancel them, and tasks whose worker died after it had started them."""


def start_some(redis: Any) -> None:
    """As a worker that died does: the rows run, and their leases have run out."""
    now = timezone.now()
    queue_config.repair(now)
    take = task_store.acquire("architect", worker="dead", want=STARTED, lease_ms=1)
    (grant,) = scripts.run(client(purpose="worker"), [take])
    for lease in grant.leases:
        rows = Task.objects.filter(pk=lease.task_id)
        rows.update(fence=lease.fence, started_at=now, attempt_count=1, deadline=None)
        assert rows.move(rows.get().pk, State.WAITING, State.PROCESSING)


def maintain() -> None:
    """What upkeep and the ticker of a worker do."""
    now = timezone.now()
    tick = task_store.tick("architect", worker="alive", held={}, lease_ms=10_000, reap=True)
    (told,) = scripts.run(client(), [tick])
    rescue.recover_all(told.reaped, now)
    expiry.finish_cancels(now)
    expiry.expire_due(now)
    relay.relay(now)


@override_settings(PLUGSPACE_QUEUE={"LEASE": 0.2})
def test_400_cancels_beside_maintenance_lose_nothing_and_refund_each_task_once(redis: Any):
    ids = [task.pk for task in queue_manager.add_tasks([arguments() for _ in range(TASKS)])]
    start_some(redis)
    is_over = Event()

    def act(number: int) -> Any:
        if number >= CALLERS:
            return until(is_over, maintain)
        try:
            # Each task by two callers, from both ends.
            half = ids[number // 2 :: CALLERS // 2]
            return cancel_all(half if number % 2 else half[::-1])
        finally:
            done.append(number)
            if len(done) == CALLERS:
                is_over.set()

    done: list[int] = []
    answers = race(CALLERS + 2, act)

    assert [one for one in answers if isinstance(one, Exception)] == []
    maintain()
    rows = Task.objects.filter(pk__in=ids)
    assert set(rows.values_list("state", flat=True)) == {State.CANCELLED}
    # What never started is refunded, once; what a dead worker had started stays charged.
    assert rows.filter(refunded_at__isnull=False, started_at=None).count() == TASKS - STARTED
    refunds = UsageEntry.objects.filter(reason="refund")
    assert sum(refunds.values_list("units", flat=True)) == STARTED - TASKS
    assert MonthlyUsage.objects.get().used == STARTED
    assert rows.filter(recovery_count__gt=1).count() == 0
    # Nothing runs. What was published while it was cancelled is a ghost with an old copy: no worker
    # starts it, and the reconciler takes it out.
    running = (keys.own, keys.active, keys.lease, keys.running)
    assert not redis.exists(*(key("architect") for key in running))
    assert kinds_found() <= {"ghost", "snapshot_differs"}
    assert reconcile("--fix")[0] == 0
    assert kinds_found() == set()
    assert not redis.exists(keys.wait("architect"), keys.idx("architect"), keys.queue("architect"))


def until(is_over: Event, work: Callable[[], object]) -> None:
    while not is_over.is_set():
        work()


def cancel_all(ids: list[Any]) -> None:
    """Cancel these; what another one has ended or its worker is to stop is all right."""
    for task_id in ids:
        try:
            queue_manager.cancel(task_id)
        except errors.InvalidState:
            assert Task.objects.get(pk=task_id).state == State.CANCELLED
