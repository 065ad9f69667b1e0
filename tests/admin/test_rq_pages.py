"""RQ's own pages: our permissions, and the manager behind their buttons."""

import base64
import pickle
from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django_rq import views
from django_rq.settings import get_queues_map
from django_rq.urls import get_admin_urlpatterns
from redis import Redis
from rq.job import Job

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task, UsageEntry
from plugspace_queue.rq.admin import POSTS
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

ARCHITECT = "architect"


def index(name: str = ARCHITECT) -> int:
    return get_queues_map()[name]


def page(name: str, *args: object) -> str:
    return reverse(f"admin:django_rq_{name}", args=args)


@pytest.fixture
def task(db: None) -> Task:
    make_organization()
    return queue_manager.add_task(**arguments())


def state_of(task: Task) -> str:
    task.refresh_from_db()
    return task.state


def test_every_view_that_changes_something_has_its_wrapper():
    changing = {"confirm_action"}  # It only asks.
    for pattern in get_admin_urlpatterns():
        source = pattern.callback.__wrapped__
        while hasattr(source, "__wrapped__"):
            source = source.__wrapped__
        if "POST" in source.__code__.co_consts or source.__name__ == "stop_job":
            changing.add(source.__name__)

    assert changing - {"confirm_action"} == set(POSTS)
    assert all(callable(getattr(views, name)) for name in POSTS)


PAGES = ["jobs", "queue_details", "finished_jobs", "failed_jobs", "scheduled_jobs"]
PAGES += ["started_jobs", "deferred_jobs", "workers"]


@pytest.mark.parametrize("name", PAGES)
def test_viewers_see_the_pages_and_other_staff_do_not(
    signed_in: Callable[[str], Client], task: Task, name: str
):
    assert signed_in("viewer").get(page(name, index())).status_code == 200
    assert signed_in("").get(page(name, index())).status_code == 403
    assert Client().get(page(name, index())).status_code == 302


def test_the_dashboard_and_the_figures_follow_the_same_permission(
    signed_in: Callable[[str], Client], task: Task
):
    viewer, clerk = signed_in("viewer"), signed_in("")

    assert page("jobs", index()) in viewer.get(page("home")).content.decode()
    # The project's own queue is shown to all staff, as django-rq does.
    assert page("jobs", index()) not in clerk.get(page("home")).content.decode()
    rows = {row["name"]: row for row in viewer.get(page("home_json")).json()["queues"]}
    assert rows[ARCHITECT]["jobs"] == 1
    assert [row["name"] for row in clerk.get(page("home_json")).json()["queues"]] == ["default"]
    assert Client().get(page("home_json")).status_code == 401
    assert "Django-RQ" in viewer.get("/admin/").content.decode()
    assert "Django-RQ" not in clerk.get("/admin/").content.decode()


def test_the_page_of_a_job_shows_the_task(operator: Client, task: Task):
    shown = operator.get(page("job_detail", index(), task.pk)).content.decode()

    assert "plugspace_queue.processing.perform" in shown
    assert str(task.pk) in shown


def test_viewers_press_no_button(signed_in: Callable[[str], Client], task: Task):
    viewer = signed_in("viewer")

    for name in ("delete_job", "requeue_job", "enqueue_job", "stop_job"):
        assert viewer.post(page(name, index(), task.pk)).status_code == 403
    for name in ("clear", "requeue_all", "delete_failed_jobs", "actions", "confirm_action"):
        assert viewer.post(page(name, index())).status_code == 403
    assert state_of(task) == State.WAITING


def test_delete_cancels_an_open_task_and_leaves_nothing_in_its_line(
    operator: Client, redis: Redis, task: Task
):
    operator.post(page("delete_job", index(), task.pk))

    assert state_of(task) == State.CANCELLED
    assert redis.llen("plugspace:architect:wait") == 0
    assert redis.zcard("plugspace:architect") == 0


def test_delete_of_an_ended_task_takes_the_entry_and_leaves_the_row(
    operator: Client, redis: Redis, task: Task
):
    job = redis.hgetall(f"rq:job:{task.pk}")
    queue_manager.cancel(task.pk)
    redis.hset(f"rq:job:{task.pk}", mapping=job | {b"status": b"failed"})
    redis.zadd("rq:failed:architect", {str(task.pk): 9e9})

    operator.post(page("delete_job", index(), task.pk))

    assert not redis.exists(f"rq:job:{task.pk}")
    assert redis.zcard("rq:failed:architect") == 0
    assert state_of(task) == State.CANCELLED


def test_requeue_is_the_managers_retry(operator: Client, redis: Redis, task: Task):
    queue_manager.cancel(task.pk)

    operator.post(page("requeue_job", index(), task.pk))

    assert state_of(task) == State.WAITING
    assert redis.lrange("plugspace:architect:wait", 0, -1) == [str(task.pk).encode()]
    free = UsageEntry.objects.get(task=task, note__contains="RQ")
    assert free.note == "by operator on RQ's pages"


def test_who_pressed_a_button_is_in_the_history_of_the_tasks(operator: Client, task: Task):
    ended = queue_manager.add_task(**arguments())
    queue_manager.cancel(ended.pk)
    body = {"action": "stop", "job_ids": [str(task.pk), str(ended.pk)]}

    operator.post(page("actions", index()), body)

    (noted,) = LogEntry.objects.all()
    assert (noted.user.get_username(), noted.object_id) == ("operator", str(task.pk))
    assert noted.change_message == "Told to stop, on RQ's pages."


def test_empty_cancels_what_waits(operator: Client, redis: Redis, task: Task):
    other = queue_manager.add_task(**arguments())

    response = operator.post(page("clear", index()), follow=True)

    assert {state_of(task), state_of(other)} == {State.CANCELLED}
    assert redis.llen("plugspace:architect:wait") == 0
    assert "2 of 2 tasks cancelled" in response.content.decode()


def test_chosen_jobs_are_cancelled_and_the_refused_one_is_named(operator: Client, task: Task):
    ended = queue_manager.add_task(**arguments())
    queue_manager.cancel(ended.pk)
    body = {"action": "stop", "job_ids": [str(task.pk), str(ended.pk)]}

    response = operator.post(page("actions", index()), body, follow=True)

    assert state_of(task) == State.CANCELLED
    assert f"{ended.pk}: " in response.content.decode()


def test_a_stock_queue_beside_ours_keeps_its_stock_buttons(operator: Client):
    job = django_rq.get_queue("default").enqueue(print, "hello")

    operator.post(page("delete_job", index("default"), job.id))

    assert django_rq.get_queue("default").count == 0


@pytest.mark.parametrize("through", ["default", "code"])
@pytest.mark.parametrize("name", ["delete_job", "enqueue_job", "requeue_job", "stop_job"])
def test_a_task_is_out_of_reach_through_another_queue(
    operator: Client, redis: Redis, task: Task, name: str, through: str
):
    response = operator.post(page(name, index(through), task.pk))

    assert response.status_code == 404
    assert state_of(task) == State.WAITING
    assert redis.exists(f"rq:job:{task.pk}")
    assert redis.llen("rq:queue:default") == 0


@pytest.mark.parametrize("action", ["delete", "requeue", "stop"])
def test_a_chosen_task_of_another_queue_keeps_all_chosen_jobs_as_they_are(
    operator: Client, redis: Redis, task: Task, action: str
):
    job = django_rq.get_queue("default").enqueue(print, "hello")
    body = {"action": action, "job_ids": [job.id, str(task.pk)]}

    response = operator.post(page("actions", index("default")), body)

    assert response.status_code == 404
    assert state_of(task) == State.WAITING
    assert redis.exists(f"rq:job:{task.pk}")
    assert redis.lrange("rq:queue:default", 0, -1) == [job.id.encode()]


@pytest.mark.parametrize("through", ["default", "code"])
@pytest.mark.parametrize("name", ["job_detail", "delete_job", "enqueue_job", "requeue_job"])
def test_a_task_is_not_found_on_the_pages_of_another_queue(
    operator: Client, task: Task, name: str, through: str
):
    assert operator.get(page(name, index(through), task.pk)).status_code == 404
    assert operator.get(page(name, index(), task.pk)).status_code == 200


def test_a_stock_job_is_not_found_on_the_pages_of_our_queues(operator: Client):
    job = django_rq.get_queue("default").enqueue(print, "hello")

    assert operator.get(page("job_detail", index(), job.id)).status_code == 404
    assert operator.get(page("job_detail", index("default"), job.id)).status_code == 200


SPOILT: dict[str, Callable[[Redis, str], object]] = {
    "pickled data": lambda redis, key: redis.hset(key, "data", pickle.dumps(("f", None, (), {}))),
    "data of another shape": lambda redis, key: redis.hset(key, "data", b'{"a": 1}'),
    "data that is no text": lambda redis, key: redis.hset(key, "data", b"\xff\x00"),
    "no data": lambda redis, key: redis.hdel(key, "data"),
    "pickled meta": lambda redis, key: redis.hset(key, "meta", pickle.dumps({})),
    "a time that is none": lambda redis, key: redis.hset(key, "created_at", "yesterday"),
    "a status that is none": lambda redis, key: redis.hset(key, "status", "odd"),
    "a timeout that is none": lambda redis, key: redis.hset(key, "timeout", "long"),
    "parents that are none": lambda redis, key: redis.hset(key, "dependency_ids", "[["),
    "no hash": lambda redis, key: (redis.delete(key), redis.set(key, "x")),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_job_that_cannot_be_read_breaks_no_page(
    operator: Client, redis: Redis, task: Task, spoil: Callable[[Redis, str], object]
):
    for registry in ("finished", "failed", "scheduled", "deferred"):
        redis.zadd(f"rq:{registry}:architect", {str(task.pk): 9e9})
    redis.zadd("rq:wip:architect", {f"{task.pk}:1": 9e9})
    redis.hset(f"rq:execution:{task.pk}:1", mapping={"created_at": 1, "last_heartbeat": 1})
    spoil(redis, f"rq:job:{task.pk}")

    told = {name: operator.get(page(name, index())).status_code for name in PAGES}
    told["home"] = operator.get(page("home")).status_code
    told["json"] = operator.get(page("home_json")).status_code
    told["ask"] = operator.post(
        page("confirm_action", index()), {"action": "delete", "_selected_action": [task.pk]}
    ).status_code

    assert {name: status for name, status in told.items() if status != 200} == {}
    # A hash without data is no job to RQ.
    assert operator.get(page("job_detail", index(), task.pk)).status_code in (200, 404)


def test_a_job_that_cannot_be_read_hides_no_other_that_waits(
    operator: Client, redis: Redis, task: Task
):
    other = queue_manager.add_task(**arguments())
    redis.hset(f"rq:job:{task.pk}", "created_at", "yesterday")

    shown = operator.get(page("jobs", index())).content.decode()

    assert str(other.pk) in shown
    assert str(task.pk) not in shown


def test_a_result_that_cannot_be_read_is_a_note(operator: Client, redis: Redis, task: Task):
    ours = {"type": 1, "return_value": base64.b64encode(pickle.dumps({"a": 1}))}
    entry = redis.xadd(f"rq:results:{task.pk}", ours).decode()

    shown = operator.get(page("result_detail", index(), task.pk, entry))

    assert "(not JSON, not shown)" in shown.content.decode()


def test_a_button_of_a_stock_queue_keeps_the_bytes_that_its_page_did_not_read(
    operator: Client, redis: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    # django_rq keeps this very dictionary, so it is changed in place, and back.
    monkeypatch.delitem(settings.RQ_QUEUES["default"], "SERIALIZER")
    stock = django_rq.get_queue("default", serializer="pickle")
    job = stock.enqueue(print, "hello", meta={"who": "ann"})
    kept = redis.hmget(job.key, "data", "meta")

    operator.get(page("job_detail", index("default"), job.id))
    operator.post(page("enqueue_job", index("default"), job.id))

    assert redis.hmget(job.key, "data", "meta") == kept
    assert Job.fetch(job.id, connection=redis).meta == {"who": "ann"}


NOWHERE = [
    "queues/99/",
    "queues/99/failed/",
    "queues/99/empty/",
    "queues/99/nope/delete/",
    "workers/99/",
    "workers/{}/nope/",
    "workers/{}/rq:worker:nope/",
    "queues/{}/nope/",
    "queues/{}/nope/delete/",
    "queues/{}/nope/requeue/",
    "queues/{}/nope/enqueue/",
    "schedulers/0/",
    "schedulers/99/",
]


@pytest.mark.parametrize("queue", [ARCHITECT, "default"])
@pytest.mark.parametrize("address", NOWHERE)
def test_what_is_not_there_is_not_found(
    signed_in: Callable[[str], Client], address: str, queue: str
):
    viewer = signed_in("viewer")

    assert viewer.get(page("home") + address.format(index(queue))).status_code == 404


@pytest.mark.parametrize("address", [a for a in NOWHERE if a.startswith("queues/99")])
def test_a_button_of_a_queue_that_is_not_there_is_not_found(operator: Client, address: str):
    assert operator.post(page("home") + address).status_code == 404


def test_a_missing_job_of_a_stock_queue_is_not_found(operator: Client):
    body = {"action": "delete", "job_ids": ["nope"]}

    assert operator.post(page("delete_job", index("default"), "nope")).status_code == 404
    assert operator.post(page("actions", index("default")), body).status_code == 404


called: list[Any] = []


def call(*told: Any) -> None:
    called.append(told)


@pytest.mark.parametrize("queue", [ARCHITECT, "default"])
@pytest.mark.parametrize("name", ["home", "home_json", "queue_details", "started_jobs"])
def test_who_looks_calls_no_function_that_is_named_in_redis_and_ends_no_job(
    signed_in: Callable[[str], Client], redis: Redis, task: Task, name: str, queue: str
):
    called.clear()
    job = django_rq.get_queue("default").enqueue(print, "hello")
    callback = {"failure_callback_name": f"{__name__}.call", "status": "started"}
    # What RQ takes for a job whose worker died.
    redis.hset(job.key, mapping={**callback, "failure_callback_timeout": 60})
    redis.zadd(f"rq:wip:{queue}", {f"{job.id}:1": 1})
    args = () if name.startswith("home") else (index(queue),)

    assert signed_in("viewer").get(page(name, *args)).status_code == 200

    assert called == []
    assert redis.hget(job.key, "status") == b"started"
    assert redis.zcard(f"rq:wip:{queue}") == 1
