"""What our scripts write is what RQ 3.0 would have written: its own classes read it back.

A stock SimpleWorker runs one job on a stock queue beside ours; its keys are the golden measure.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from rq import Queue as StockQueue
from rq import SimpleWorker
from rq import Worker as StockWorker
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE, Execution
from rq.job import Job as StockJob
from rq.job import JobStatus
from rq.registry import (
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from plugspace_queue.broker import keys
from plugspace_queue.rq.job import Job
from tests.broker.tools import QUEUE, WORKER, Line, started_us, texts


def answer() -> int:
    return 42


def fetch(line: Line, task_id: str) -> Job:
    job = Job.fetch(task_id, connection=line.redis)
    assert isinstance(job, Job)
    return job


def is_now(moment: datetime | None) -> bool:
    return moment is not None and abs(datetime.now(UTC) - moment) < timedelta(seconds=5)


def test_a_waiting_task_is_a_queued_job_that_rq_can_read(line: Line) -> None:
    line.submit("a", band=1)

    job = fetch(line, "a")

    assert job.get_status() is JobStatus.QUEUED
    assert job.func_name == "plugspace_queue.processing.perform"
    assert (job.args, job.kwargs) == (["a"], {})
    assert (job.origin, job.description, job.timeout) == (QUEUE, "CODE for acme", 900)
    assert job.created_at == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    assert is_now(job.enqueued_at)
    assert (job.organization_id, job.is_task) == ("acme", True)


def test_a_delayed_task_is_in_rqs_scheduled_registry_to_the_millisecond(line: Line) -> None:
    due = line.now_ms() + 60_123
    line.submit("a", due_ms=due)

    registry = ScheduledJobRegistry(QUEUE, connection=line.redis)

    assert registry.get_job_ids() == ["a"]
    assert registry.get_scheduled_time("a").timestamp() == due / 1000
    assert fetch(line, "a").get_status() is JobStatus.SCHEDULED


def test_a_running_task_is_a_started_job_with_an_execution(line: Line) -> None:
    line.submit("a")

    lease = line.acquire().leases[0]

    job = fetch(line, "a")
    assert job.get_status() is JobStatus.STARTED
    assert job.worker_name == WORKER
    assert is_now(job.started_at)
    assert is_now(job.last_heartbeat)
    registry = StartedJobRegistry(QUEUE, connection=line.redis)
    assert registry.get_job_and_execution_ids() == [("a", lease.execution_id)]
    index = WORKER_EXECUTIONS_KEY_TEMPLATE.format(WORKER)
    assert texts(line.redis.smembers(index)) == [f"a:{lease.execution_id}"]


def test_the_execution_of_a_running_task_is_recorded_by_the_next_tick(line: Line) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]
    job = fetch(line, "a")
    assert job.get_executions() == []
    worker = StockWorker([], connection=line.redis, name=WORKER)
    assert worker.get_current_executions() == []

    line.tick([lease])

    for (execution,) in (job.get_executions(), worker.get_current_executions(refresh=True)):
        assert (execution.id, execution.worker_name) == (lease.execution_id, WORKER)
        assert execution.created_at.timestamp() == started_us(lease) / 1_000_000
        assert is_now(execution.last_heartbeat)


def test_rqs_own_cleaning_leaves_running_tasks_alone(line: Line) -> None:
    line.submit("a")
    line.acquire()

    StartedJobRegistry(QUEUE, connection=line.redis).cleanup(timestamp=4_000_000_000)

    assert len(StartedJobRegistry(QUEUE, connection=line.redis)) == 1
    line.check()


def test_a_tick_is_the_heartbeat_of_job_and_execution(line: Line) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]
    line.tick([lease])
    record = Execution(lease.execution_id, "a", line.redis).key
    line.redis.hset(record, "last_heartbeat", 1)
    line.redis.expire(record, 5)

    line.tick([lease])

    (execution,) = fetch(line, "a").get_executions()
    assert is_now(execution.last_heartbeat)
    assert line.redis.ttl(record) > 60


def test_a_completed_task_is_a_finished_job_whose_result_points_to_ours(line: Line) -> None:
    line.submit("a")
    lease = line.acquire().leases[0]

    line.settle(lease, result='{"pages": []}', result_ttl=100)

    job = fetch(line, "a")
    assert job.get_status() is JobStatus.FINISHED
    assert is_now(job.ended_at)
    assert FinishedJobRegistry(QUEUE, connection=line.redis).get_job_ids() == ["a"]
    result = job.latest_result()
    assert result is not None
    assert result.type is Result.Type.SUCCESSFUL
    pointer = result.return_value["key"]
    assert json.loads(line.redis.get(pointer)) == {"pages": []}
    assert (result.worker_name, result.execution_id) == (WORKER, lease.execution_id)
    assert is_now(result.execution_started_at)
    assert is_now(result.execution_ended_at)
    for key in (job.key, Result.get_key("a"), pointer):
        assert 0 < line.redis.ttl(key) <= 100
    assert job.get_executions() == []


@pytest.mark.parametrize(
    ("outcome", "status"), [("fail", JobStatus.FAILED), ("stopped", JobStatus.STOPPED)]
)
def test_a_failed_task_is_a_failed_job_with_its_message(
    line: Line, outcome: str, status: JobStatus
) -> None:
    line.submit("a")

    line.settle(line.acquire().leases[0], outcome, error="it broke: ümlaut")

    job = fetch(line, "a")
    assert job.get_status() is status
    assert FailedJobRegistry(QUEUE, connection=line.redis).get_job_ids() == ["a"]
    result = job.latest_result()
    assert result is not None
    assert (result.type, result.exc_string) == (Result.Type.FAILED, "it broke: ümlaut")


def test_a_time_to_live_of_nothing_keeps_nothing_of_the_job(line: Line) -> None:
    line.submit("a")

    line.settle(line.acquire().leases[0], result_ttl=0)

    assert not Job.exists("a", line.redis)
    assert line.redis.zcard(line.rq("finished")) == 0


def test_a_second_life_starts_with_a_clean_job(line: Line) -> None:
    line.submit("a")
    line.settle(line.acquire().leases[0], "fail", error="x", result_ttl=100)

    line.submit("a")

    assert line.redis.zcard(line.rq("failed")) == 0
    job = fetch(line, "a")
    assert (job.get_status(), job.started_at, job.worker_name) == (JobStatus.QUEUED, None, None)
    assert line.redis.ttl(job.key) == -1


def test_a_stock_worker_leaves_the_same_keys_and_fields(line: Line, redis: Redis) -> None:
    stock = StockQueue("stock", connection=redis, serializer=JSONSerializer)
    stock.enqueue(answer, job_id="golden", result_ttl=86_400)
    worker = SimpleWorker([stock], connection=redis, name="other", serializer=JSONSerializer)
    worker.death_penalty_class = TimerDeathPenalty
    worker.work(burst=True)
    line.submit("ours")
    line.settle(line.acquire(worker="mine").leases[0], result="42")

    def shape(task_id: str, queue: str) -> dict[str, str]:
        found = texts(redis.keys("rq:*"))
        mine = [key for key in found if task_id in key or key.endswith(f":{queue}")]
        return {
            key.replace(task_id, "ID").replace(queue, "QUEUE"): redis.type(key).decode()
            for key in mine
            # RQ's own housekeeping of a worker's life; the list of queues is not ours.
            if "clean_registries" not in key and "workers" not in key
        }

    assert shape("ours", QUEUE) == shape("golden", "stock")
    mine, golden = redis.hgetall("rq:job:ours"), redis.hgetall("rq:job:golden")
    # RQ writes empty fields too; reading them gives what a missing one gives.
    written = {name for name, value in golden.items() if value}
    assert written - set(mine) == set()
    assert set(mine) - set(golden) == {b"psq_org", b"psq_prio"}
    [(_, our_result)] = redis.xrange("rq:results:ours")
    [(_, stock_result)] = redis.xrange("rq:results:golden")
    assert set(our_result) == set(stock_result)


def test_a_running_stock_job_has_the_same_keys_too(line: Line, redis: Redis) -> None:
    line.submit("ours")
    lease = line.acquire().leases[0]
    line.tick([lease])
    stock = StockQueue("stock", connection=redis, serializer=JSONSerializer)
    job = stock.enqueue(answer, job_id="golden")
    with redis.pipeline() as pipe:
        execution = Execution.create(job, ttl=60, pipeline=pipe, worker_name="stock-worker")
        job.prepare_for_execution("stock-worker", pipeline=pipe)
        pipe.execute()

    ours = redis.hgetall(Execution(lease.execution_id, "ours", redis).key)
    golden = redis.hgetall(execution.key)

    assert set(ours) == set(golden)
    for name in ("executions:ours", f"worker:{WORKER}:executions", f"wip:{QUEUE}"):
        other = {"ours": "golden", WORKER: "stock-worker", QUEUE: "stock"}
        golden_name = name
        for mine, theirs in other.items():
            golden_name = golden_name.replace(f":{mine}", f":{theirs}")
        assert redis.type(f"rq:{name}") == redis.type(f"rq:{golden_name}") != b"none"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (StockQueue, "_enqueue_job"),
        (StockQueue, "_enqueue_rate_limited_job"),
        (StockQueue, "_prepare_for_queue"),
        (StockJob, "_fetch_status"),
        (StockJob, "_remove_from_registries"),
        (StockJob, "restore"),
        (Execution, "composite_key"),
        (StockWorker, "_set_connection"),
    ],
)
def test_a_private_name_we_lean_on_is_still_there(owner: type, name: str) -> None:
    assert hasattr(owner, name)


def test_times_are_written_as_rq_writes_them(line: Line) -> None:
    line.submit("a")
    line.acquire()

    raw = line.redis.hget("rq:job:a", "started_at").decode()

    assert datetime.strptime(raw, "%Y-%m-%dT%H:%M:%S.%fZ").year >= 2025
    assert keys.wait(QUEUE).startswith("plugspace:")
