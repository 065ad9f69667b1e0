"""Pickle in Redis: whoever can write there runs no code in the web process by it.

Every address of the admin, RQ's pages among them, is found from the resolver and opened, while
tasks run and every job is a pickle whose loading leaves a trace.
"""

import base64
import itertools
import pickle
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from django_rq.settings import get_queues_map
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.models import Task
from tests.factories import arguments
from tests.processes.conftest import Start
from tests.support import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(180),
    # By a template of django-rq's.
    pytest.mark.filterwarnings("ignore:job.result is deprecated:DeprecationWarning"),
]

OUT = {"/admin/logout/", "/admin/password_change/", "/admin/jsi18n/"}


class Trace:
    """Its loading makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


@pytest.fixture
def jobs(
    acme: str, rqworker: Start, redis: Redis, until_running: Callable[[Task], Task]
) -> list[str]:
    """Jobs of ours in every place of RQ's pages, two of them running, and a stock one."""
    running = queue_manager.add_task(**arguments(input={"prompt": "hold on"}))
    isolated = queue_manager.add_task(**arguments(type="ANALYZE"))
    rqworker("architect", "analyze")
    waiting = queue_manager.add_task(**arguments(type="CODE"))
    stock = django_rq.get_queue("default").enqueue(print, "hello")
    until_running(running)
    until_running(isolated)
    for name in ("architect", "code", "default"):
        elsewhere = {str(task.pk): 9e9 for task in (waiting, isolated)} | {stock.id: 9e9}
        for registry in ("finished", "failed", "scheduled", "deferred", "canceled"):
            if (name, registry) != ("code", "scheduled"):
                redis.zadd(f"rq:{registry}:{name}", elsewhere)
        # What RQ takes for a dead worker's job when somebody looks at the page.
        redis.zadd(f"rq:wip:{name}", {f"{waiting.pk}:1": 1})
    return [str(running.pk), str(isolated.pk), str(waiting.pk), stock.id]


def poison(redis: Redis, jobs: list[str], trace: Path) -> None:
    """What was JSON, or a harmless pickle, is a pickle that does something."""
    call = pickle.dumps(("print", None, (Trace(trace),), {}))
    value = pickle.dumps({"value": Trace(trace)})
    for job in jobs:
        redis.hset(
            f"rq:job:{job}",
            mapping={
                "data": zlib.compress(call),
                "meta": value,
                "result": value,
                "dependency_ids": "[" + ", ".join(f'"{other}"' for other in jobs) + "]",
            },
        )
        redis.sadd(f"rq:job:{job}:dependents", *jobs)
        entry = {"return_value": base64.b64encode(value), "type": "1", "created_at": "1"}
        redis.xadd(f"rq:results:{job}", entry)


def addresses(redis: Redis, jobs: list[str]) -> Iterator[str]:
    """Every address below the admin with everything that its parameters can name."""
    prefix, admin = get_resolver().namespace_dict["admin"]
    streams = [redis.xrange(f"rq:results:{job}") for job in jobs]
    known: dict[str, list[Any]] = {
        "queue_index": list(get_queues_map().values()),
        "job_id": jobs,
        "result_id": [entry.decode() for stream in streams for entry, _ in stream],
        "key": [key.decode() for key in redis.smembers("rq:workers")],
        "object_id": [*jobs, "acme", "ARCHITECT", "starter", "1"],
        "kind": ["architect", "code"],
    }
    for name in admin.reverse_dict:
        for possibilities, *_ in admin.reverse_dict.getlist(name):
            for template, parameters in possibilities:
                choices = [known.get(parameter, ["0"]) for parameter in parameters]
                for values in itertools.product(*choices):
                    named = dict(zip(parameters, values, strict=True))
                    yield f"/{prefix}{template % named}"


@pytest.mark.slow
def test_no_page_loads_pickle_and_none_fails(
    admin_client: Client, redis: Redis, jobs: list[str], trace: Path
):
    poison(redis, jobs, trace)
    opened = sorted(set(addresses(redis, jobs)) - OUT)
    told: dict[str, int] = {}

    admin_client.raise_request_exception = False
    for address in opened:
        told[address] = admin_client.get(address).status_code
        assert not trace.exists(), f"{address} loaded pickle"

    assert {a: status for a, status in told.items() if status >= 500} == {}
    assert sum("django_rq" in address for address, status in told.items() if status == 200) > 50


@pytest.mark.slow
def test_no_press_loads_pickle_and_none_fails(
    admin_client: Client, redis: Redis, jobs: list[str], trace: Path
):
    told: dict[str, int] = {}
    admin_client.raise_request_exception = False
    for address in sorted(a for a in addresses(redis, jobs) if "django_rq" in a):
        for action in ("delete", "requeue", "stop"):
            poison(redis, jobs, trace)
            body = {"action": action, "job_ids": jobs[:1], "_selected_action": jobs}
            told[address] = admin_client.post(address, body).status_code
            assert not trace.exists(), f"{address} loaded pickle"

    assert {a: status for a, status in told.items() if status >= 500} == {}


def test_the_page_of_a_busy_worker_shows_its_task(
    client: Client, django_user_model: Any, jobs: list[str], redis: Redis
):
    (key,) = redis.smembers("rq:workers")
    client.force_login(django_user_model.objects.create_superuser("root"))
    index = get_queues_map()["architect"]

    address = reverse("admin:django_rq_worker_details", args=[index, key.decode()])

    def shown() -> str:
        return client.get(address).content.decode()

    # RQ's record of a running job is written by the worker's next tick.
    wait_until(lambda: any(job in shown() for job in jobs), 10)
    assert "plugspace_queue.processing.perform" in shown()


def test_the_demo_has_no_queue_with_pickle(redis: Redis):
    for name in get_queues_map():
        job = django_rq.get_queue(name).create_job(print, args=("hello",))
        assert job.data.startswith(b'["'), name
