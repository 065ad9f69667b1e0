"""RQ's verbs on our names: tasks go to the manager, stock jobs are refused, `default` is stock."""

from datetime import timedelta

import django_rq
import pytest
from redis import Redis
from rq import Queue as StockQueue
from rq import SimpleWorker, requeue_job
from rq.exceptions import InvalidJobOperation
from rq.job import JobStatus
from rq.registry import FailedJobRegistry
from rq.timeouts import TimerDeathPenalty

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys, task_store
from plugspace_queue.broker.connection import EmbeddedConnection
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.rq.job import Job
from plugspace_queue.rq.queue import Queue
from tests.broker.tools import QUEUE, Line, texts


def answer() -> int:
    return 42


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the manager would have been asked to do."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(queue_manager, "cancel", lambda id: asked.append(("cancel", id)))
    monkeypatch.setattr(queue_manager, "retry", lambda id, **_: asked.append(("retry", id)))
    return asked


@pytest.fixture
def queue(line: Line) -> Queue:
    made = django_rq.get_queue(QUEUE)
    assert isinstance(made, Queue)
    return made


def test_the_queues_count_is_the_true_one(line: Line, queue: Queue) -> None:
    line.submit("a", "b", "c")
    line.take()

    assert (queue.count, queue.key) == (2, keys.wait(QUEUE))
    assert not queue.is_empty()


def test_jobs_are_listed_in_the_order_in_which_they_would_start(line: Line, queue: Queue) -> None:
    line.submit("a1", "a2", "a3", organization_id="a")
    line.submit("p1", organization_id="p", band=0)
    line.submit("b1", organization_id="b")
    line.submit("vip", organization_id="v", band=0)
    line.pause_organization("p")
    order = queue.get_job_ids()

    assert order == ["vip", "a1", "b1", "a2", "a3", "p1"]
    assert queue.get_job_ids(1, 2) == ["a1", "b1"]
    assert queue.get_job_position("a2") == 3
    assert queue.get_job_position("nobody") is None
    assert [job.id for job in queue.get_jobs(0, 2)] == ["vip", "a1"]
    line.pause_organization("p", False)
    assert line.take(6) == ["p1", "vip", "a1", "b1", "a2", "a3"]


def test_a_weighted_order_is_listed_as_it_would_be_served(line: Line, queue: Queue) -> None:
    line.configure(weighted=True)
    for band in range(4):
        line.submit(*[f"{band}-{n}" for n in range(5)], band=band, organization_id=f"o{band}")

    listed = queue.get_job_ids()

    assert line.take(16) == listed[:16]


def test_with_very_many_tasks_the_list_is_that_of_arrival(line: Line, queue: Queue) -> None:
    for number in range(0, 1200, 400):
        line.submit(*[f"t{n}" for n in range(number, number + 400)])

    assert queue.get_job_ids(1190, 100) == [f"t{n}" for n in range(1190, 1200)]


@pytest.mark.parametrize("way", ["ours", "stock", "schedule", "many", "dependent", "unique"])
def test_a_stock_job_ends_in_the_failed_registry_with_a_message(
    line: Line, queue: Queue, way: str
) -> None:
    match way:
        case "ours":
            job = queue.enqueue(answer)
        case "stock":
            job = StockQueue(QUEUE, connection=line.redis).enqueue(answer)
            assert line.tick().foreign == [job.id]
        case "schedule":
            job = queue.enqueue_in(timedelta(seconds=60), answer)
        case "many":
            [job] = queue.enqueue_many([Queue.prepare_data(answer)])
        case "unique":
            job = queue.enqueue(answer, job_id="only", unique=True)
        case _:
            parent = StockQueue("stock", connection=line.redis).enqueue(answer)
            job = queue.enqueue(answer, depends_on=parent)

    assert job.id in FailedJobRegistry(QUEUE, connection=line.redis)
    assert job.get_status() is JobStatus.FAILED
    assert job.latest_result().exc_string == task_store.REFUSAL
    assert (line.waits(), line.runs(), line.acquire().leases) == ([], [], [])


@pytest.mark.parametrize("by", ["acquire", "promote_due"])
def test_a_stock_job_that_was_scheduled_by_stock_code_is_refused_when_due(
    line: Line, by: str
) -> None:
    job = StockQueue(QUEUE, connection=line.redis).enqueue_in(timedelta(seconds=60), answer)
    line.make_due(job.id)

    if by == "acquire":
        assert line.acquire().foreign == [job.id]
    else:
        assert line.run(task_store.promote_due(QUEUE)) == (0, [job.id])

    assert job.get_status() is JobStatus.FAILED
    assert line.redis.zcard(line.rq("scheduled")) == 0


def test_deleting_and_cancelling_a_waiting_task_asks_the_manager(
    line: Line, told: list[tuple[str, str]]
) -> None:
    line.submit("a", "b")

    Job.fetch("a", connection=line.redis).cancel()
    Job.fetch("b", connection=line.redis).delete()

    assert told == [("cancel", "a"), ("cancel", "b")]
    assert line.places("a", "b") == ["waiting", "waiting"]


def test_deleting_an_ended_task_takes_it_off_rqs_pages_only(
    line: Line, told: list[tuple[str, str]]
) -> None:
    line.submit("a")
    line.settle(line.acquire().leases[0], "fail", snapshot='{"id": "a"}')

    Job.fetch("a", connection=line.redis).delete()

    assert told == []
    assert line.redis.zcard(line.rq("failed")) == 0
    assert line.redis.get(keys.task("a")) == b'{"id": "a"}'


def test_requeueing_a_task_asks_the_manager(
    line: Line, queue: Queue, told: list[tuple[str, str]]
) -> None:
    line.submit("a")
    line.settle(line.acquire().leases[0], "fail")
    job = Job.fetch("a", connection=line.redis)

    job.requeue()
    queue._enqueue_job(job)
    queue.enqueue_job(job)

    assert told == [("retry", "a")] * 3
    assert line.waits() == []


def test_a_task_requeued_by_stock_code_waits_again(line: Line) -> None:
    line.submit("a")
    line.settle(line.acquire().leases[0], "fail")

    requeue_job("a", connection=line.redis)
    line.tick()

    assert line.waits() == ["a"]
    assert Job.fetch("a", connection=line.redis).organization_id == "acme"
    line.check()


def test_emptying_and_deleting_a_queue_cancel_its_tasks(
    line: Line, queue: Queue, told: list[tuple[str, str]]
) -> None:
    line.submit("a", "b")

    assert queue.empty() == 2
    queue.delete()

    assert told == [("cancel", "a"), ("cancel", "b")] * 2
    line.check()


def test_removing_leaves_no_lane_behind(line: Line, queue: Queue) -> None:
    line.submit("a", "b")

    assert (queue.remove("a"), queue.remove("nobody")) == (1, 0)

    assert line.waits() == ["b"]
    line.check()


def test_looking_for_a_job_that_is_gone_takes_it_out_of_the_line(line: Line, queue: Queue) -> None:
    line.submit("a", "b")
    line.redis.delete("rq:job:a")

    assert queue.fetch_job("a") is None
    assert queue.fetch_job("b") is not None

    line.check()
    assert line.waits() == ["b"]


def test_nobody_but_our_worker_takes_tasks(line: Line, queue: Queue) -> None:
    line.submit("a")
    queue.compact()

    with pytest.raises(InvalidJobOperation, match="rqworker"):
        queue.pop_job_id()
    with pytest.raises(InvalidJobOperation, match="rqworker"):
        Queue.dequeue_any([queue], None, connection=line.redis)

    line.check()


def test_an_id_pushed_through_our_class_wakes_a_worker(line: Line, queue: Queue) -> None:
    line.submit("a")
    line.settle(line.acquire().leases[0], "fail")
    line.unmark()

    queue.push_job_id("a")

    assert line.is_marked()
    assert line.take() == ["a"]


def test_all_six_queues_are_there_whether_used_or_not(line: Line) -> None:
    StockQueue("default", connection=line.redis).enqueue(answer)

    found = {queue.name: queue for queue in Queue.all(line.redis)}

    assert set(found) == {*queue_names(), "default"}
    assert Queue.from_queue_key(keys.wait("design"), line.redis) == found["design"]
    assert Queue.from_queue_key("rq:queue:design", line.redis).key == keys.wait("design")


def test_a_name_that_is_not_ours_behaves_as_stock(redis: Redis) -> None:
    queue = Queue("default", connection=redis, job_class=Job)
    job = queue.enqueue(answer)
    assert texts(redis.lrange("rq:queue:default", 0, -1)) == [job.id]
    assert (queue.get_job_position(job), queue.get_job_ids()) == (0, [job.id])
    second = queue.enqueue(answer)
    second.cancel()
    assert second.get_status() is JobStatus.CANCELED
    third = queue.enqueue(answer)
    third.delete()

    worker = SimpleWorker([queue], connection=redis, job_class=Job)
    worker.death_penalty_class = TimerDeathPenalty
    worker.work(burst=True)

    assert job.return_value() == 42
    queue.enqueue_in(timedelta(seconds=60), answer)
    queue.enqueue(answer)
    assert queue.empty() == 1
    queue.delete()


def test_a_stock_client_learns_to_start_the_embedded_server(queue: Queue) -> None:
    assert queue.connection.connection_pool.connection_class is EmbeddedConnection
