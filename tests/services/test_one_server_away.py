"""With a server per queue, one that is away holds up its own queues only."""

import pytest
from django.test import Client
from django.utils import timezone

from plugspace_queue.broker import keys
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.queue_config import repair
from plugspace_queue.maintenance.relay import RowCursor, relay
from tests.factories import make_task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def architect_away(others, settings):
    """The server of ARCHITECT is away; what it returns is the server of all others."""
    here = settings.RQ_QUEUES
    away = here["architect"] | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
    settings.RQ_QUEUES = here | {"architect": away}
    return others


@pytest.mark.parametrize("loses", [False, True])
def test_what_waits_for_other_queues_is_published(architect_away, loses):
    make_task()
    task = make_task(type="CODE")
    if loses:
        architect_away.flushdb()

    with pytest.raises(Unavailable):
        relay(timezone.now(), RowCursor())

    assert architect_away.lrange(keys.wait("code"), 0, -1) == [str(task.pk).encode()]


def test_the_gates_of_other_queues_are_mended(architect_away):
    for _ in TaskType:
        architect_away.hdel(keys.meta("code"), "limiter")
        with pytest.raises(Unavailable):
            repair(timezone.now())
        assert architect_away.hexists(keys.meta("code"), "limiter")


def test_the_probe_says_so(architect_away):
    answer = Client().get("/readyz")

    assert (answer.status_code, answer.json()["redis"]) == (200, "down")


def test_the_probe_asks_the_servers_of_all_queues(others, settings):
    settings.RQ_QUEUES = settings.RQ_QUEUES | {
        "export": settings.RQ_QUEUES["export"] | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
    }

    assert Client().get("/readyz").json()["redis"] == "down"
