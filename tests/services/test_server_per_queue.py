"""Queues on servers of their own: what Redis holds of a task is on the server of its queue only."""

import json
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.dashboards.timelines import progress_of
from plugspace_queue.models import Task
from plugspace_queue.publishing import tasks as publishing
from tests.factories import arguments
from tests.maintenance.scene import kinds_found, reconcile

pytestmark = pytest.mark.django_db(transaction=True)


def snapshot_state(server: Redis, task_id: object) -> str:
    text: Any = server.get(keys.task(str(task_id)))
    return str(json.loads(text)["state"])


def test_a_cancelled_task_says_so_on_the_server_of_its_queue(redis: Redis, others: Redis):
    task = queue_manager.add_task(**arguments(type="CODE"))
    queue_manager.cancel(task.pk)

    assert snapshot_state(others, task.pk) == "cancelled"
    assert not redis.exists(keys.task(str(task.pk)))


def test_snapshots_of_blocked_steps_are_on_the_server_of_their_queue(redis: Redis, others: Redis):
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})

    assert snapshot_state(redis, workflow.task_ids[0]) == "waiting"
    assert [snapshot_state(others, pk) for pk in workflow.task_ids[1:]] == ["blocked"] * 2
    assert kinds_found() == set()


def test_a_late_publish_is_repaired_on_the_server_of_its_queue(others: Redis):
    task = queue_manager.add_task(**arguments(type="CODE"))
    read = Task.objects.get(pk=task.pk)
    queue_manager.cancel(task.pk)
    publishing.publish([read])
    assert snapshot_state(others, task.pk) == "waiting"

    assert reconcile("--fix")[0] == 0

    assert snapshot_state(others, task.pk) == "cancelled"


def test_progress_is_read_from_the_server_of_its_queue(others: Redis):
    task = queue_manager.add_task(**arguments(type="CODE"))
    task.state = "processing"
    others.set(keys.task(str(task.pk)), json.dumps({"progress": {"percent": 40}}))

    progress = progress_of(task)

    assert progress is not None
    assert progress.percent == 40


def test_an_unavailable_server_delays_no_task_of_another(others: Redis, settings: Any):
    nowhere = settings.RQ_QUEUES["architect"] | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
    settings.RQ_QUEUES = settings.RQ_QUEUES | {"architect": nowhere}

    task = queue_manager.add_task(**arguments(type="CODE"))

    assert others.lrange(keys.wait("code"), 0, -1) == [str(task.pk).encode()]
