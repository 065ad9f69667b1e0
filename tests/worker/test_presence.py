"""Workers tell their queues that they live and how many slots they have; who asks can see it."""

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.broker import inspection, keys, routing
from plugspace_queue.broker.inspection import Workers
from plugspace_queue.models import QueueSettings
from plugspace_queue.processing import registry
from tests.support import wait_until
from tests.worker.conftest import submit

pytestmark = pytest.mark.django_db(transaction=True)


def workers_of(queue: str) -> Workers:
    call = inspection.explain(queue, "x", organization_id="acme", band=2, alive_ms=10_000)
    return routing.ask(call, queue).workers


def set_slots(task_type: str, slots: int) -> None:
    """As an operator does it."""
    row, _ = QueueSettings.objects.get_or_create(type=task_type)
    row.concurrency = slots
    row.save()


def test_a_worker_is_seen_by_its_queues_with_its_slots(acme, crew, processors):
    processors("ARCHITECT", lambda context: {})
    processors("CODE", lambda context: {})
    registry.unregister("EXPORT")
    set_slots("CODE", 7)

    crew("architect", "code", "export")

    wait_until(lambda: workers_of("export").idle == 1)
    assert workers_of("architect") == Workers(serving=1, slots=5, idle=0, suspended=False)
    assert workers_of("code").slots == 7
    assert workers_of("export") == Workers(serving=0, slots=0, idle=1, suspended=False)
    assert workers_of("design").serving == 0


def test_a_worker_that_stops_is_not_counted_any_more(acme, crew, processors, redis):
    processors("ARCHITECT", lambda context: {})
    made = crew("architect", worker_name="w1")
    crew("architect", worker_name="w2")
    wait_until(lambda: workers_of("architect").serving == 2)

    made.stop()

    wait_until(lambda: workers_of("architect").serving == 1)


def test_a_worker_at_the_end_of_its_burst_signs_off(acme, work, processors, redis):
    processors("ARCHITECT", lambda context: {})

    work("architect")

    assert not redis.exists(keys.workers("architect"), keys.slots("architect"))


@pytest.mark.slow
def test_slots_that_an_operator_changes_are_told(acme, crew, processors):
    processors("CODE", lambda context: {})
    crew("code")
    wait_until(lambda: workers_of("code").slots == 3)

    set_slots("CODE", 9)

    wait_until(lambda: workers_of("code").slots == 9)


def test_what_waits_for_a_slot_is_told_who_holds_them(acme, crew, processors, until_running):
    processors("ARCHITECT", wait_for_stop)
    set_slots("ARCHITECT", 1)
    crew("architect")
    running = until_running(submit())
    task = submit()

    told = queue_manager.explain(task.pk)

    assert (told.reason, told.state) == ("waiting_its_turn", "waiting")
    assert [holder.task_id for holder in told.slots.holders] == [str(running.pk)]
    assert told.slots.holders[0].worker == "w1"
    assert queue_manager.explain(running.pk).reason == "running"
    queue_manager.cancel(running.pk)
    queue_manager.cancel(task.pk)


def wait_for_stop(context) -> dict[str, str]:
    wait_until(lambda: context.should_stop, 20)
    return {}
