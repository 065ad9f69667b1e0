"""Explain: each reason for which a task is where it is, staged for real."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import presence, routing, task_store
from plugspace_queue.broker.types import Lease
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueSettings, Task
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.schemas.explanation import Explanation
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def open_gates() -> None:
    """The gates of all queues are written, as a worker does it when it starts."""
    make_organization()
    for kind in TaskType:
        projections.write_queue(kind)


@pytest.fixture
def worker() -> None:
    """A worker with five slots that takes nothing by itself."""
    attend(slots=5)


def attend(*, slots: int, name: str = "w1") -> None:
    routing.ask(presence.heartbeat("architect", worker=name, slots=slots), "architect")


def take(want: int = 1, worker: str = "w1") -> list[Lease]:
    """Leases, and their rows as the worker's recorder writes them."""
    call = task_store.acquire("architect", worker=worker, want=want, lease_ms=10_000)
    leases = routing.ask(call, "architect").leases
    for lease in leases:
        Task.objects.filter(pk=lease.task_id).update(
            state=State.PROCESSING, fence=lease.fence, deadline=None
        )
    return leases


def add(**changes: Any) -> Task:
    return queue_manager.add_task(**arguments(**changes))


def set_queue(**values: Any) -> None:
    row, _ = QueueSettings.objects.get_or_create(type="ARCHITECT")
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


def told(task: Task, organization_id: str | None = None) -> Explanation:
    return queue_manager.explain(task.pk, organization_id)


def verdicts(explanation: Explanation) -> dict[str, str]:
    return {gate.gate: gate.verdict for gate in explanation.gates}


def test_a_task_behind_open_gates_waits_its_turn(worker):
    for organization in ("acme", "other"):
        make_organization(organization)
        add(organization_id=organization)
        add(organization_id=organization)
    last = add()

    seen = told(last)

    assert (seen.reason, seen.also) == (Reason.WAITING_ITS_TURN, [])
    assert set(verdicts(seen).values()) == {"open"}
    assert seen.position is not None
    assert (seen.position.tasks_ahead, seen.position.organizations_ahead) == (2, 0)
    assert "2 tasks of its organization and 0 other lanes" in seen.sentence
    assert seen.workers is not None and (seen.workers.serving, seen.workers.slots) == (1, 5)
    assert seen.expires_at == last.deadline
    assert seen.looked_at_again_at is None


def test_a_paused_queue_and_a_paused_organization_are_told_in_their_order(worker):
    task = add()
    queue_manager.pause(organization_id="acme")
    assert told(task).reason == Reason.ORGANIZATION_PAUSED

    queue_manager.pause("ARCHITECT")

    seen = told(task)
    assert (seen.reason, seen.also) == (Reason.QUEUE_PAUSED, [Reason.ORGANIZATION_PAUSED])
    assert seen.sentence == "The queue architect is paused."


def test_a_full_queue_names_who_holds_the_slots(worker):
    set_queue(global_concurrency=2)
    running = [add(), add()]
    take(2)

    seen = told(add())

    assert (seen.reason, seen.looked_at_again_at) == (Reason.QUEUE_CONCURRENCY, None)
    assert seen.sentence == "The queue architect runs 2 of at most 2 tasks."
    assert seen.slots is not None
    assert (seen.slots.used, seen.slots.limit, seen.slots.others) == (2, 2, 0)
    assert [holder.task_id for holder in seen.slots.holders] == [str(t.pk) for t in running]
    first = seen.slots.holders[0]
    assert (first.organization_id, first.worker) == ("acme", "w1")
    assert first.since is not None and abs(first.since - timezone.now()) < timedelta(seconds=5)


def test_a_full_window_tells_when_it_opens(worker):
    set_queue(limiter_max=1, limiter_duration=60)
    add()
    take()

    seen = told(add())

    assert seen.reason == Reason.QUEUE_LIMITER
    assert seen.looked_at_again_at is not None
    assert timedelta(0) < seen.looked_at_again_at - timezone.now() <= timedelta(seconds=61)
    gate = next(gate for gate in seen.gates if gate.gate == "queue_limiter")
    assert (gate.verdict, gate.current, gate.limit) == ("shut", 1, 1)
    assert gate.retry_at == seen.looked_at_again_at


def test_an_organization_at_its_cap_is_told_and_another_one_is_not_held(worker):
    make_organization("other")
    set_queue(organization_concurrency=1)
    add()
    take()

    held, free = told(add()), told(add(organization_id="other"))

    assert held.reason == Reason.ORGANIZATION_CONCURRENCY
    assert held.slots is not None and held.slots.organization_used == 1
    assert free.reason == Reason.WAITING_ITS_TURN


def test_without_a_worker_nobody_takes_it_and_pauses_come_first():
    task = add()
    assert told(task).reason == Reason.NO_WORKER

    attend(slots=0)
    assert told(task).reason == Reason.NO_PROCESSOR
    queue_manager.pause("ARCHITECT")

    seen = told(task)
    assert (seen.reason, seen.also) == (Reason.QUEUE_PAUSED, [Reason.NO_PROCESSOR])
    assert seen.workers is not None and seen.workers.without_processor == 1


def test_suspended_workers_are_told(worker, redis):
    task = add()

    redis.set("rq:suspended", 1)

    assert told(task).reason == Reason.WORKERS_SUSPENDED


def test_a_blocked_task_names_the_parents_it_waits_for(redis_away):
    done = make_task(state=State.COMPLETE)
    parent = add()
    task = add(depends_on=[parent.pk, done.pk])
    redis_away()

    seen = told(task)

    assert (seen.reason, seen.also) == (Reason.BLOCKED, [])
    assert [(one.id, one.type, one.state) for one in seen.blocked_by] == [
        (str(parent.pk), TaskType.ARCHITECT, State.WAITING)
    ]
    assert seen.sentence == "It waits for 1 task to complete first."


def test_a_task_for_later_tells_when(worker):
    later = timezone.now() + HOUR
    task = add(run_at=later)

    seen = told(task)

    assert (seen.reason, seen.looked_at_again_at) == (Reason.SCHEDULED, later)
    assert seen.position is None


def test_a_failed_attempt_waits_for_its_backoff(worker):
    due = timezone.now() + timedelta(seconds=30)
    task = make_task(state=State.RETRYING, wake_at=due, started_at=timezone.now())
    publishing.publish([task])

    seen = told(task)

    assert (seen.reason, seen.looked_at_again_at) == (Reason.BACKOFF, due)


def test_a_row_that_redis_does_not_know_is_unpublished(worker, redis_away):
    come_back = redis_away()
    task = add()
    come_back()

    assert told(task).reason == Reason.UNPUBLISHED


def test_a_server_without_data_has_no_limits_until_a_worker_writes_them(redis):
    task = add()
    redis.flushall()
    publishing.publish([task])

    seen = told(task)
    assert (seen.reason, seen.also) == (Reason.NO_WORKER, [Reason.UNCONFIGURED])

    attend(slots=1)
    seen = told(task)
    assert (seen.reason, seen.also) == (Reason.UNCONFIGURED, [])
    assert seen.looked_at_again_at is not None


def test_a_running_task_tells_its_lease(worker, redis):
    task = add()
    assert told(task).lease is None
    take()

    seen = told(task)

    assert (seen.reason, seen.also, seen.sentence) == (Reason.RUNNING, [], "It runs.")
    assert seen.lease is not None and seen.lease.worker == "w1"
    assert seen.lease.lease_until is not None and seen.lease.lease_until > timezone.now()
    redis.zadd("plugspace:architect:lease", {str(task.pk): 1})
    assert "not renewed the lease" in told(task).sentence
    redis.flushall()
    assert "Its worker is gone" in told(task).sentence


def test_a_task_that_a_worker_has_just_taken_runs(worker):
    task = add()
    routing.ask(task_store.acquire("architect", worker="w1", want=1, lease_ms=10_000), "architect")

    seen = told(task)

    assert (seen.state, seen.reason) == (State.WAITING, Reason.RUNNING)
    assert "about to start" in seen.sentence


def test_a_cancel_that_is_asked_for_and_not_done_is_told(worker):
    task = add()
    take()
    queue_manager.cancel(task.pk)

    seen = told(task)

    assert (seen.reason, seen.also) == (Reason.CANCELLING, [Reason.RUNNING])


def test_a_task_over_its_ttl_is_about_to_expire_unless_a_pause_holds(worker):
    task = add()
    Task.objects.filter(pk=task.pk).update(deadline=timezone.now() - HOUR)
    assert told(task).reason == Reason.EXPIRING

    queue_manager.pause("ARCHITECT")

    assert told(task).reason == Reason.QUEUE_PAUSED


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAILED, State.CANCELLED, State.EXPIRED])
def test_an_ended_task_needs_no_redis_to_tell(state: State, redis_away):
    error = {"code": "TIMEOUT", "message": "too slow"} if state == State.FAILED else None
    task = make_task(state=state, error=error)
    redis_away()

    seen = told(task)

    assert seen.reason == Reason(state)
    assert (seen.also, seen.gates, seen.slots) == ([], [], None)
    assert ("TIMEOUT: too slow" in seen.sentence) == (state == State.FAILED)


@pytest.mark.parametrize("state", [State.WAITING, State.SCHEDULED, State.PROCESSING])
def test_the_live_part_needs_redis(state: State, redis_away):
    task = make_task(state=state)
    redis_away()

    with pytest.raises(errors.Unavailable):
        told(task)


def test_a_tenant_sees_only_counts_of_others(worker):
    make_organization("rival")
    mine = add()
    theirs = [add(organization_id="rival") for _ in range(3)]
    take(4, worker="host-7")
    waiting = add()

    seen = told(waiting, "acme")
    text = seen.model_dump_json()

    assert seen.slots is not None
    assert [holder.task_id for holder in seen.slots.holders] == [str(mine.pk)]
    assert (seen.slots.used, seen.slots.others) == (4, 3)
    assert not any(str(task.pk) in text for task in theirs)
    assert "rival" not in text
    assert "host-7" not in text
    running = told(mine, "acme")
    assert running.lease is not None and running.lease.worker is None
    staff = told(waiting).slots
    assert staff is not None and {h.organization_id for h in staff.holders} == {"acme", "rival"}


def test_another_organizations_task_is_not_there():
    make_organization("rival")
    task = add()

    with pytest.raises(errors.NotFound):
        told(task, "rival")
    with pytest.raises(errors.NotFound):
        queue_manager.explain("nothing")


def test_a_row_that_moves_on_meanwhile_is_looked_at_again(worker, monkeypatch):
    task = add()
    ask: Callable[..., Any] = routing.ask
    moved: list[bool] = []

    def then_it_ends(*args: Any) -> Any:
        answer = ask(*args)
        if not moved:
            moved.append(True)
            now = timezone.now()
            Task.objects.filter(pk=task.pk).update(state=State.COMPLETE, completed_at=now)
        return answer

    monkeypatch.setattr(routing, "ask", then_it_ends)

    assert told(task).reason == Reason.COMPLETE


def test_the_wire_form_is_camel_case_without_nulls(worker):
    wire = told(add()).to_wire()

    assert wire["reason"] == "waiting_its_turn"
    assert wire["position"] == {
        "tasksAhead": 0,
        "atLeast": False,
        "organizationsAhead": 0,
        "stricterLinesAhead": 0,
    }
    assert "lookedAtAgainAt" not in wire
    assert wire["gates"][0] == {"gate": "queue_paused", "verdict": "open"}


def test_the_twin_for_async_code_tells_the_same(worker):
    task = add()

    assert async_to_sync(queue_manager.aexplain)(task.pk).reason == Reason.WAITING_ITS_TURN


def test_a_worker_that_was_silent_for_a_lease_is_not_counted(worker, redis):
    task = add()
    silent = round(get_settings().lease * 1000) + 1

    redis.zincrby("plugspace:architect:workers", -silent, "w1")

    assert told(task).reason == Reason.NO_WORKER
