"""The workers page: who works on what, and stopping it with a reason."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from redis import Redis
from rq.command import PUBSUB_CHANNEL_TEMPLATE

from plugspace_queue import queue_manager
from plugspace_queue.broker import scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.dashboards import workers
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from plugspace_queue.rq.worker import Worker
from tests.admin.test_records import rows_of
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS = "/admin/plugspace_queue/worker/"
NAME = "desk&<b>chair</b>"


@pytest.fixture
def worker(redis: Redis) -> Worker:
    """A worker as it is after its birth; nobody turns its loop."""
    made = Worker(["code", "export"], name=NAME, connection=redis)
    made.register_birth()
    workers.clear_cache()
    return made


def run_one() -> Task:
    make_organization()
    queue_manager.set_queue("CODE", {"concurrency": None})
    task = queue_manager.add_task(**arguments(type="CODE"))
    scripts.run(client("code"), [task_store.acquire("code", worker=NAME, want=1, lease_ms=10_000)])
    workers.clear_cache()
    return task


def test_nobody_at_work_is_told_with_the_command_that_helps(root: Client):
    assert "manage.py rqworker architect" in rows_of(root, WORKERS)


def test_a_worker_shows_heartbeat_queues_slots_and_tasks(root: Client, worker: Worker):
    task = run_one()

    page = rows_of(root, WORKERS)

    assert "<b>chair" not in page
    assert "desk&amp;&lt;b&gt;chair&lt;/b&gt;" in page
    assert "code, export" in page
    assert "1 of 8" in page
    assert str(task.pk) in page
    assert "<dd>now</dd>" in page


def test_a_silent_worker_is_shown_as_silent_and_not_counted_on(
    root: Client, worker: Worker, redis: Redis
):
    redis.hset(worker.key, "last_heartbeat", "2020-01-01T00:00:00.000000Z")

    assert "psq-silent" in rows_of(root, f"{WORKERS}live/")
    assert not workers.all_workers()[0].is_alive


def test_one_that_signed_off_is_gone(root: Client, worker: Worker):
    worker.register_death()

    assert NAME not in [worker.name for worker in workers.all_workers()]


def test_an_operator_shuts_a_worker_down_for_a_reason(
    operator: Client, worker: Worker, redis: Redis
):
    heard = redis.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(PUBSUB_CHANNEL_TEMPLATE % NAME)
    heard.get_message(timeout=1)
    address = f"{WORKERS}stop/?worker=desk%26%3Cb%3Echair%3C%2Fb%3E"

    assert f'href="{address}"' in rows_of(operator, WORKERS)
    assert "Shut down desk" in rows_of(operator, address)
    assert operator.post(address, {}).status_code == 200
    assert operator.post(address, {"reason": "a leak"}).status_code == 302

    message: Any = heard.get_message(timeout=2)
    assert json.loads(message["data"])["command"] == "shutdown"
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (NAME, "Asked to shut down: a leak")


def test_an_operator_cancels_what_a_worker_runs(operator: Client, worker: Worker):
    task = run_one()
    queue_manager.cancel(task.pk)
    other = queue_manager.add_task(**arguments(type="CODE"))

    answer = operator.post(f"{WORKERS}stop/?task={other.pk}", {"reason": "a mistake"})

    assert answer.status_code == 302
    assert Task.objects.get(pk=other.pk).state == State.CANCELLED
    assert LogEntry.objects.get().change_message == "Cancelled: a mistake"


def test_a_viewer_stops_nobody(signed_in: Callable[[str], Client], worker: Worker):
    viewer = signed_in("viewer")

    assert "Shut down" not in rows_of(viewer, WORKERS)
    for method in (viewer.get, viewer.post):
        assert method(f"{WORKERS}stop/?worker=x", {"reason": "x"}).status_code == 403


@pytest.mark.parametrize("query", ["", "?worker=nobody", "?task=x", "?task="])
def test_what_is_not_there_cannot_be_stopped(operator: Client, query: str):
    assert operator.post(f"{WORKERS}stop/{query}", {"reason": "x"}).status_code == 404


def test_without_redis_nobody_knows_who_works(root: Client, cut_off: None):
    workers.clear_cache()
    assert "so the workers are unknown" in rows_of(root, WORKERS)
