"""Workers of a project with RQ classes of its own: they serve its queues, and ours serve ours."""

import json
import subprocess
import sys
from typing import Any

import django_rq
import pytest
from redis import Redis

from tests.processes.conftest import ROOT, Start
from tests.rqhost import settings as host
from tests.rqhost.classes import RAN, HostQueue, add
from tests.support import child_environment, patient
from tests.worker.conftest import submit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SETTINGS = "tests.rqhost.settings"


@pytest.fixture
def mail(redis: Redis, settings: Any) -> HostQueue:
    """The project's queue, in a web process of the project."""
    settings.RQ, settings.RQ_QUEUES = host.RQ, host.RQ_QUEUES
    made = django_rq.get_queue("mail")
    assert type(made) is HostQueue
    return made


def ran(redis: Redis) -> list[dict[str, Any]]:
    return [json.loads(entry) for entry in redis.lrange(RAN, 0, -1)]


def started(*words: str) -> "subprocess.CompletedProcess[str]":
    """A command that ends by itself, and what it said."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        cwd=ROOT,
        env=child_environment(DJANGO_SETTINGS_MODULE=SETTINGS),
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )


def test_a_job_of_the_project_meets_its_worker_its_queue_and_its_job_class(
    rqworker: Start, redis: Redis, mail: HostQueue
):
    job = mail.enqueue(add, {1, 2})

    worker = rqworker("mail", "--burst", wait=False, settings=SETTINGS)

    assert worker.wait(timeout=patient(30)) == 0
    assert job.return_value(refresh=True) == 3
    assert ran(redis) == [
        {
            "worker": "tests.rqhost.classes.HostWorker",
            "job": "tests.rqhost.classes.HostJob",
            "queue": "tests.rqhost.classes.HostQueue",
            "args": "({1, 2},)",
            "serializer": "DefaultSerializer",
        }
    ]


def test_a_pool_of_the_project_runs_its_worker_and_its_job_class(
    rqworker: Start, redis: Redis, mail: HostQueue
):
    job = mail.enqueue(add, {1, 2})

    pool = rqworker(
        "mail",
        "--burst",
        "--num-workers",
        "1",
        wait=False,
        command="rqworker-pool",
        settings=SETTINGS,
    )

    assert pool.wait(timeout=patient(60)) == 0
    assert job.return_value(refresh=True) == 3
    (met,) = ran(redis)
    assert met["worker"] == "tests.rqhost.classes.HostWorker"
    assert met["job"] == "tests.rqhost.classes.HostJob"
    # The command of django-rq passes no QUEUE_CLASS to a pool, whatever the project has.
    assert met["queue"] == "rq.queue.Queue"


@pytest.mark.parametrize("command", ["rqworker", "rqworker-pool"])
def test_a_json_queue_of_the_project_is_read_as_its_entry_says(
    rqworker: Start, redis: Redis, mail: HostQueue, command: str
):
    job = django_rq.get_queue("default").enqueue("operator.add", 2, 3)

    worker = rqworker("default", "--burst", wait=False, command=command, settings=SETTINGS)

    assert worker.wait(timeout=patient(60)) == 0
    assert job.return_value(refresh=True) == 5
    assert ran(redis)[0]["serializer"] == "JSONSerializer"


def test_our_queues_are_served_by_our_worker_beside_them(
    rqworker: Start, redis: Redis, acme: str, mail: HostQueue
):
    mail.enqueue(add, {1, 2})
    task = submit(input={"prompt": "sleep 0"})

    worker = rqworker("architect", "--burst", wait=False, settings=SETTINGS)

    assert worker.wait(timeout=patient(60)) == 0
    task.refresh_from_db()
    assert task.state == "complete"
    assert (ran(redis), mail.count) == ([], 1)


@pytest.mark.parametrize("command", ["rqworker", "rqworker-pool"])
@pytest.mark.parametrize("queues", [("architect", "mail"), ("mail", "architect")])
def test_both_kinds_of_queues_in_one_command_are_refused_with_a_sentence(
    transactional_db: None, command: str, queues: tuple[str, str]
):
    done = started(command, *queues, "--burst")

    assert done.returncode == 1
    assert "One worker runs queues of plugspace_queue or other queues, not both" in done.stderr
    assert "start another rqworker for mail" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stock_worker_class_on_our_queue_takes_no_task(acme: str, redis: Redis):
    task = submit(input={"prompt": "sleep 0"})

    done = started("rqworker", "architect", "--burst", "--worker-class", "rq.SimpleWorker")

    # RQ's own worker says what happened, and ends.
    assert "architect is served by plugspace_queue's worker" in done.stdout + done.stderr
    task.refresh_from_db()
    assert (task.state, task.attempt_count) == ("waiting", 0)
