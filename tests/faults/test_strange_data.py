"""What somebody else wrote into Redis, or took from it: the row decides, and the others go on."""

import threading

import pytest
from django.test import override_settings
from django.utils import timezone

from plugspace_queue.broker import keys, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.maintenance import queue_config
from plugspace_queue.models import Task
from plugspace_queue.worker.unstarted import hand_back
from tests.broker.tools import entry
from tests.support import alike, wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(60)]

SOON = {"RELAY_INTERVAL": 0.3, "LEASE": 3.0}


def nothing_is_held(redis):
    left = [keys.own("architect"), keys.lease("architect"), keys.active("architect")]
    return not redis.exists(*left, keys.wait("architect"))


def job(task):
    return f"rq:job:{task.pk}"


@override_settings(PLUGSPACE_QUEUE=SOON)
@pytest.mark.parametrize("task_id", ["8c5f2f4e-7d0b-4a55-9d0a-3f0f0c1de4a1", "no-id-at-all"])
def test_an_id_that_no_row_knows_is_dropped_and_the_others_run(
    processors, crew, redis, until_final, task_id
):
    ran = []
    processors("ARCHITECT", lambda context: ran.append(context.task_id))
    scripts.run(client(), [task_store.submit("architect", [entry(task_id)])])
    task = submit()

    made = crew("architect")

    assert until_final(task).state == "complete"
    wait_until(lambda: nothing_is_held(redis))
    assert ran == [str(task.pk)]
    assert not redis.exists(f"rq:job:{task_id}")
    assert until_final(submit()).state == "complete"
    wait_until(lambda: all(desk.busy == desk.held == 0 for desk in made.fetcher.queues.values()))


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_an_id_that_can_be_no_tasks_is_left_by_a_dead_worker(processors, crew, redis, until_final):
    processors("ARCHITECT", lambda context: {})
    queue_config.repair(timezone.now())
    take = task_store.acquire("architect", worker="dead", want=1, lease_ms=1)
    scripts.run(client(), [task_store.submit("architect", [entry("no-id-at-all")]), take])
    assert redis.hexists(keys.own("architect"), "no-id-at-all")

    crew("architect")

    wait_until(lambda: nothing_is_held(redis), 10)
    assert until_final(submit()).state == "complete"


BREAKS = {
    "gone": lambda redis, key: redis.delete(key),
    "a string": lambda redis, key: redis.set(key, "not a job"),
    "a list": lambda redis, key: (redis.delete(key), redis.rpush(key, "not a job")),
    "no band": lambda redis, key: redis.hdel(key, "psq_prio"),
    "a strange band": lambda redis, key: redis.hset(key, "psq_prio", "high"),
    "no organization": lambda redis, key: redis.hdel(key, "psq_org"),
    "strange data": lambda redis, key: redis.hset(key, "data", b"\x80\x04cos\nsystem\n"),
}


EXAMPLES = ["gone", "a string", "a strange band"]
IN_EACH_STATE = pytest.mark.parametrize("spoil", alike(EXAMPLES, quick=1), indirect=True)


@pytest.fixture(params=BREAKS)
def spoil(request, redis):
    """Do something to the job of a task that RQ and we keep in Redis."""
    return lambda task: BREAKS[request.param](redis, job(task))


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_the_job_of_a_waiting_task_is_spoiled(processors, crew, redis, until_final, spoil):
    processors("ARCHITECT", lambda context: context.attempt, concurrency=2)
    before, spoiled, after = submit(), submit(), submit()
    spoil(spoiled)

    crew("architect")

    assert [until_final(task).result for task in (before, spoiled, after)] == [1, 1, 1]
    wait_until(lambda: nothing_is_held(redis))
    assert not redis.exists(keys.running("architect"))


@IN_EACH_STATE
@override_settings(PLUGSPACE_QUEUE=SOON | {"BACKOFF_DELAY": 0.5})
def test_the_job_of_a_task_that_waits_for_its_retry_is_spoiled(
    processors, crew, redis, until_final, spoil
):
    gate = threading.Event()

    def architect(context):
        if context.attempt == 1 and context.input.prompt == "spoiled":
            raise ConnectionError("busy")
        gate.wait(20)
        return context.attempt

    processors("ARCHITECT", architect)
    crew("architect")
    spoiled = submit(input={"prompt": "spoiled"})
    wait_until(lambda: redis.zcard("rq:scheduled:architect") == 1)

    spoil(spoiled)
    other = submit()
    gate.set()

    assert [until_final(task).result for task in (spoiled, other)] == [2, 1]
    wait_until(lambda: nothing_is_held(redis))


@IN_EACH_STATE
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_the_job_of_a_running_task_is_spoiled(
    processors, crew, redis, until_running, until_final, spoil
):
    gate = threading.Event()

    def architect(context):
        gate.wait(20)
        return context.attempt

    processors("ARCHITECT", architect)
    made = crew("architect")
    spoiled, other = submit(), submit()
    for task in (spoiled, other):
        until_running(task)

    spoil(spoiled)
    ticked_at = made.leases.ticked_at
    wait_until(lambda: made.leases.ticked_at > ticked_at + 1)
    gate.set()

    assert [until_final(task).result for task in (spoiled, other)] == [1, 1]
    wait_until(lambda: nothing_is_held(redis))


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_settle_with_a_wrong_token_or_a_second_one_changes_nothing(
    processors, crew, redis, until_running, until_final
):
    gate = threading.Event()
    processors("ARCHITECT", lambda context: gate.wait(20) and context.attempt)
    made = crew("architect")
    task = submit()
    until_running(task)
    (held,) = made.table.all()
    pump = client(purpose="worker")
    right = hand_back(held)
    wrong = right._replace(fence=right.fence - 1)

    assert scripts.run(pump, [task_store.settle("architect", [wrong])]) == [[False]]
    gate.set()
    assert until_final(task).result == 1
    wait_until(lambda: nothing_is_held(redis))
    for _ in range(2):
        assert scripts.run(pump, [task_store.settle("architect", [right])]) == [[False]]
    assert nothing_is_held(redis)
    assert (fresh(task).attempts.count(), Task.objects.count()) == (1, 1)


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_place_of_a_wrong_kind_lets_submits_through_and_is_an_outage_until_it_is_gone(
    processors, crew, redis, until_final
):
    processors("ARCHITECT", lambda context: {})
    redis.set(keys.own("architect"), "not a hash")

    # What fails after the commit is logged; the row is there, and the relay comes back to it.
    task = submit()
    crew("architect")
    redis.delete(keys.own("architect"))

    assert until_final(task).state == "complete"
