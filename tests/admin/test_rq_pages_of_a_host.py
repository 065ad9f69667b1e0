"""RQ's pages in a project with queues of its own, which stay under django-rq's rules."""

from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from django_rq.queues import get_queue_by_index
from django_rq.settings import get_queues_map
from django_rq.workers import get_worker_class
from redis import Redis
from rq import Queue as PlainQueue
from rq import Worker as PlainWorker
from rq.job import Job as PlainJob
from rq.registry import FailedJobRegistry, StartedJobRegistry

from plugspace_queue import queue_manager
from plugspace_queue.models import Task
from plugspace_queue.rq import job, queue, worker
from tests.factories import arguments, make_organization
from tests.rqhost import settings as host
from tests.rqhost.classes import HostJob, HostQueue, HostWorker, add

pytestmark = pytest.mark.django_db(transaction=True)

BUTTONS = ("delete_job", "requeue_job", "enqueue_job", "stop_job")


@pytest.fixture(autouse=True)
def of_host(settings: Any) -> None:
    settings.RQ, settings.RQ_QUEUES = host.RQ, host.RQ_QUEUES


@pytest.fixture
def task(of_host: None, db: None) -> Task:
    make_organization()
    return queue_manager.add_task(**arguments())


@pytest.fixture
def clerk(signed_in: Callable[[str], Client]) -> Client:
    """Staff of the project without any permission."""
    return signed_in("")


def index(name: str) -> int:
    return get_queues_map()[name]


def page(name: str, *args: object) -> str:
    return reverse(f"admin:django_rq_{name}", args=args)


def test_queues_and_jobs_of_the_project_have_its_classes_everywhere(redis: Redis):
    for mail in (django_rq.get_queue("mail"), get_queue_by_index(index("mail"))):
        assert type(mail) is HostQueue
        assert mail.key == "rq:queue:mail"
    made = django_rq.get_queue("mail").enqueue(add, {1, 2}, meta={"shop": "north"})

    assert type(made) is HostJob
    assert type(django_rq.get_queue("mail").fetch_job(made.id)) is HostJob
    found = job.Job.fetch(made.id, connection=redis)
    assert isinstance(found, HostJob)
    assert (found.shop, found.args) == ("north", ({1, 2},))
    assert type(django_rq.get_queue("architect")) is queue.Queue
    assert type(get_queue_by_index(index("architect"))) is queue.Queue


def test_jobs_of_both_kinds_are_fetched_each_as_what_it_is(redis: Redis, task: Task):
    made = django_rq.get_queue("mail").enqueue(add, {1, 2})

    found = job.Job.fetch_many([str(task.pk), made.id, "nope"], connection=redis)

    assert [type(one) for one in found] == [job.Job, HostJob, type(None)]


def test_a_worker_of_the_project_is_found_as_its_own_class(redis: Redis):
    theirs = HostWorker([django_rq.get_queue("mail")], connection=redis)
    ours = worker.Worker([django_rq.get_queue("architect")], connection=redis)
    for one in (theirs, ours):
        one.register_birth()

    found = {type(one): one.queue_names() for one in get_worker_class().all(redis)}

    assert found == {HostWorker: ["mail"], worker.Worker: ["architect"]}


@pytest.mark.parametrize("name", ["jobs", "queue_details", "failed_jobs", "workers"])
def test_staff_without_a_permission_see_the_projects_queues_and_none_of_ours(
    clerk: Client, name: str
):
    assert clerk.get(page(name, index("mail"))).status_code == 200
    assert clerk.get(page(name, index("architect"))).status_code == 403
    assert Client().get(page(name, index("mail"))).status_code == 302


def test_staff_without_a_permission_press_the_buttons_of_the_projects_queues_only(
    clerk: Client, task: Task
):
    mail = django_rq.get_queue("mail")
    first, second = mail.enqueue(add, {1, 2}), mail.enqueue(add, {3})

    for name in BUTTONS:
        assert clerk.post(page(name, index("architect"), task.pk)).status_code == 403
    assert clerk.post(page("clear", index("architect"))).status_code == 403
    clerk.post(page("delete_job", index("mail"), first.id))
    assert mail.job_ids == [second.id]
    clerk.post(page("clear", index("mail")))

    assert mail.count == 0
    task.refresh_from_db()
    assert task.state == "waiting"


def test_a_task_is_out_of_reach_through_the_pages_of_the_projects_queues(
    clerk: Client, task: Task, redis: Redis
):
    for name in ("job_detail", *BUTTONS):
        assert clerk.get(page(name, index("mail"), task.pk)).status_code == 404
        assert clerk.post(page(name, index("mail"), task.pk)).status_code == 404
    ours = worker.Worker([django_rq.get_queue("architect")], connection=redis)
    ours.register_birth()

    assert clerk.get(page("worker_details", index("mail"), ours.key)).status_code == 404
    task.refresh_from_db()
    assert task.state == "waiting"


def test_the_overview_shows_each_queue_under_its_own_rule(
    clerk: Client, signed_in: Callable[[str], Client], task: Task
):
    viewer = signed_in("viewer")

    assert names(viewer) >= {"architect", "mail", "default"}
    assert names(clerk) == {"mail", "default"}
    shown = clerk.get(page("home")).content.decode()
    assert page("jobs", index("mail")) in shown
    assert page("jobs", index("architect")) not in shown
    assert page("jobs", index("architect")) in viewer.get(page("home")).content.decode()
    figures = clerk.get(page("metrics")).content.decode()
    assert 'queue="mail"' in figures
    assert "architect" not in figures
    assert 'queue="architect"' in viewer.get(page("metrics")).content.decode()


def names(client: Client) -> set[str]:
    return {row["name"] for row in client.get(page("home_json")).json()["queues"]}


def test_in_a_project_without_queues_of_its_own_there_is_nothing_for_other_staff(
    clerk: Client, settings: Any
):
    settings.RQ_QUEUES = {
        name: entry for name, entry in host.RQ_QUEUES.items() if name not in ("mail", "default")
    }

    for name in ("home", "home_json", "metrics"):
        assert clerk.get(page(name)).status_code == 403


def test_the_entry_on_the_index_follows_django_rqs_rule_or_ours(
    clerk: Client, signed_in: Callable[[str], Client], django_user_model: Any
):
    assert "Django-RQ" not in clerk.get("/admin/").content.decode()
    assert "Django-RQ" in signed_in("viewer").get("/admin/").content.decode()
    granted = Permission.objects.get(content_type__app_label="django_rq", codename="admin")

    django_user_model.objects.get(username="clerk").user_permissions.add(granted)

    assert "Django-RQ" in clerk.get("/admin/").content.decode()


def test_a_pickled_job_of_the_project_is_shown_as_it_is(clerk: Client):
    made = django_rq.get_queue("mail").enqueue(add, {1, 2}, meta={"shop": "north"})

    shown = clerk.get(page("job_detail", index("mail"), made.id)).content.decode()

    assert "{1, 2}" in shown
    assert "not JSON" not in shown


@pytest.mark.parametrize("address", ["home", "queue_details"])
def test_a_job_whose_worker_died_is_put_away_by_the_overview_as_in_any_project(
    clerk: Client, redis: Redis, address: str
):
    made = django_rq.get_queue("mail").enqueue(add, {1, 2})
    redis.hset(made.key, "status", "started")
    redis.zadd("rq:wip:mail", {f"{made.id}:1": 1})

    clerk.get(page(address, *([] if address == "home" else [index("mail")])))

    started, failed = (
        registry("mail", connection=redis).get_job_ids(cleanup=False)
        for registry in (StartedJobRegistry, FailedJobRegistry)
    )
    assert (started, failed) == ([], [made.id])


def test_without_settings_of_its_own_a_project_has_rqs_classes(settings: Any, redis: Redis):
    settings.RQ = {name: path for name, path in host.RQ.items() if not name.startswith("STOCK_")}

    mail = django_rq.get_queue("mail")
    made = mail.enqueue(add, {1, 2})

    assert type(mail) is django_rq.queues.DjangoRQ
    assert type(made) is PlainJob
    assert type(django_rq.get_worker("mail")) is PlainWorker
    assert PlainQueue("mail", connection=redis).job_ids == [made.id]


@pytest.mark.parametrize(
    ("key", "path", "told"),
    [
        ("STOCK_QUEUE_CLASS", "tests.rqhost.nowhere.Queue", "nowhere"),
        ("STOCK_JOB_CLASS", "builtins.dict", "a subclass of rq.job.Job"),
        (
            "STOCK_WORKER_CLASS",
            "plugspace_queue.rq.worker.Worker",
            "belongs into RQ['WORKER_CLASS']",
        ),
    ],
)
def test_a_stock_class_that_cannot_be_one_is_named(
    settings: Any, redis: Redis, key: str, path: str, told: str
):
    settings.RQ = {**host.RQ, key: path}

    with pytest.raises(ImproperlyConfigured, match=key) as raised:
        django_rq.get_worker("mail")

    assert told in str(raised.value)
