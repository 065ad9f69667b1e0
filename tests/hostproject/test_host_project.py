"""The shop with the package in it, from end to end."""

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostproject.host import Shop, until
from tests.servers import free_ports
from tests.support import patient

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(400)]

QUEUES = ("scan", "recite", "bind")
SUBMIT = """
from plugspace_queue import queue_manager
from shop.models import Company
from shop.task_types import *
company = Company.objects.get(name="Old customer")
def submit(title, gate=""):
    sheet = Sheet(title=title, gate=str(gate))
    return SCAN.submit(sheet, organization=str(company.pk), project="p", user="ann")
"""


def answer(address: str, token: str = "", body: Any = None) -> tuple[int, str]:
    """Status and text of a request, past any proxy."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    headers |= {"Content-Type": "application/json"} if data else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(address, data, headers)
    try:
        with opener.open(request, timeout=patient(60)) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Iterator[Any]:
    """A worker of the shop's types, which lives as long as these tests need one."""
    process = shop.start("rqworker", *QUEUES)
    yield process


@pytest.fixture(scope="module")
def site(shop: Shop) -> str:
    """The address of the shop's web server."""
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    shop.start("runserver", "--noreload", str(port))

    def is_there() -> bool:
        try:
            return answer(f"{base}/queue/healthz")[0] == 200
        except OSError:
            return False

    until(is_there, shop.log_of("runserver", "--noreload", str(port)).read_text())
    return base


@pytest.fixture(scope="module")
def tokens(shop: Shop) -> dict[str, str]:
    """Tokens of two customers, one of them made after the package came."""
    found: dict[str, str] = shop.python(
        """
        from shop.models import Company, User
        from shop.tokens import issue
        new = Company.objects.create(name="New customer", plan="free")
        User.objects.create(email="bob@new.example", company=new)
        tell({
            user.company.name: issue(sub=user.email, company=str(user.company_id))
            for user in User.objects.exclude(company=None)
        })
        """
    )
    return found


def test_the_package_comes_from_the_wheel_and_the_checks_find_nothing(shop: Shop):
    place = shop.python("import plugspace_queue; tell(plugspace_queue.__file__)")

    assert place.startswith(shop.environment["VIRTUAL_ENV"])
    assert "no issues" in shop.manage("check", "--fail-level", "WARNING")
    assert "No changes" in shop.manage("makemigrations", "--check", "--dry-run")


def test_what_the_project_had_in_its_settings_stands_as_it_did(shop: Shop):
    told = shop.python(
        """
        from django.conf import settings
        tell([settings.RQ_QUEUES, settings.RQ, settings.INSTALLED_APPS])
        """
    )
    queues, rq, apps = told

    assert queues["mail"] == {"URL": shop.environment["SHOP_REDIS"], "DEFAULT_TIMEOUT": 60}
    assert rq["STOCK_WORKER_CLASS"] == "shop.jobs.ShopWorker"
    assert {*QUEUES, "architect"} <= set(queues)
    assert len(apps) == len(set(apps))


def test_customers_of_before_and_of_today_are_organizations(shop: Shop, tokens: dict[str, str]):
    # The new one came by the receiver, the old one by the command.
    said = shop.manage("sync_queue")

    assert "1 made, 0 changed, 1 as before" in said
    tiers = shop.python(
        """
        from django.apps import apps
        rows = apps.get_model("plugspace_queue", "Organization").objects.all()
        tell({row.name: row.tier_id for row in rows})
        """
    )
    assert tiers["Old customer"] == "starter"
    assert tiers["New customer"] == "free"


def test_its_own_jobs_of_before_run_on_its_own_worker(shop: Shop):
    shop.manage("rqworker", "mail", "--burst")

    told = shop.python(
        """
        import django_rq
        tell(django_rq.get_queue("mail").fetch_job("before").return_value())
        """
    )
    assert told == [["a", "b"], "ShopWorker"]


def test_a_task_waits_until_there_is_a_worker_and_says_so(shop: Shop):
    task, sentence, page = shop.python(
        SUBMIT
        + """
handle = submit("Faust")
page = queue_manager.get_organization_tasks(str(company.pk), {"status": "pending", "type": "SCAN"})
tell([handle.id, queue_manager.explain(handle.id).sentence, [row.pk for row in page]])
"""
    )

    assert sentence == "No worker of the queue scan is alive."
    assert page == [task]


def test_the_worker_does_it_and_the_result_is_a_model_of_the_project(shop: Shop, worker: Any):
    told = shop.python(
        SUBMIT
        + """
(task,) = queue_manager.get_organization_tasks(str(company.pk))
found = queue_manager.wait(task.pk, timeout=60)
later = submit("Werther").wait(timeout=60)
done = queue_manager.get_queue_stats("SCAN").completed
tell([type(found).__name__, found.pages, later.pages[0], done])
"""
    )

    assert told == ["Scan", ["Faust, page 1", "Faust, page 2"], "Werther, page 1", 2]


def test_a_workflow_in_the_form_of_a_diamond_ends(shop: Shop, worker: Any):
    told = shop.python(
        SUBMIT
        + """
handle = BOOK.submit({"title": "Egmont"}, organization=str(company.pk), project="p", user="u")
tell(queue_manager.wait_workflow(handle.workflow_id, timeout=120))
"""
    )

    both = "Egmont, page 1 and Egmont, page 2"
    assert told["BIND"] == {"left": both, "right": both}
    assert set(told) == {"SCAN", "left", "right", "BIND"}


def test_the_jobs_of_the_project_run_beside_our_worker(shop: Shop, worker: Any):
    mail = shop.start("rqworker", "mail")
    told = shop.python(
        SUBMIT
        + """
import django_rq
from threading import Event
from shop import jobs
job = django_rq.get_queue("mail").enqueue(jobs.send, {"d", "c"})
pages = submit("Tasso").wait(timeout=60).pages
while not job.is_finished:
    Event().wait(0.05)
    job.refresh()
    assert not job.is_failed
tell([job.return_value(), len(pages)])
"""
    )
    mail.send_signal(signal.SIGTERM)

    assert told == [[["c", "d"], "ShopWorker"], 2]
    assert mail.wait(timeout=patient(30)) == 0


def test_the_api_knows_the_tokens_of_the_project(
    shop: Shop, worker: Any, site: str, tokens: dict[str, str]
):
    tasks = f"{site}/queue/api/v1/tasks/"
    new = {"type": "SCAN", "projectId": "p", "input": {"title": "Clavigo"}}
    old, other = tokens["Old customer"], tokens["New customer"]

    status, text = answer(tasks, old, new)
    assert status == 201, text
    place = f"{tasks}{json.loads(text)['id']}/"
    status, text = answer(f"{place}?wait=30", old)

    assert (status, json.loads(text)["status"]) == (200, "complete")
    assert json.loads(text)["result"]["pages"][0] == "Clavigo, page 1"
    assert json.loads(text)["userId"] == "ann@old.example"
    assert answer(f"{place}explain/", old)[0] == 200
    assert answer(place, other)[0] == 404
    assert json.loads(answer(place)[1])["code"] == "AUTHENTICATION_ERROR"
    # Two a month, by the quota that the type declares for the tier.
    codes = [answer(tasks, other, new)[0] for _ in range(3)]
    assert codes == [201, 201, 402]
    assert answer(tasks, other, {**new, "input": {"colour": "red"}})[0] == 400


def test_the_api_of_the_project_goes_by_its_own_rules(site: str, tokens: dict[str, str]):
    orders = f"{site}/api/v1/tasks/"

    assert answer(orders, tokens["Old customer"]) == (200, "orders of ann@old.example, version 7")
    assert answer(orders) == (418, "The shop is sorry.")
    assert answer(f"{site}/queue/api/v1/nothing/")[0] == 404


def test_the_document_and_its_page_are_below_the_prefix_and_all_files_come_from_here(site: str):
    status, text = answer(f"{site}/queue/api/v1/schema/?format=json")
    page = answer(f"{site}/queue/api/v1/docs/")

    document = json.loads(text)
    assert (status, page[0]) == (200, 200)
    assert document["servers"] == [{"url": "/queue"}]
    types = document["components"]["schemas"]["PlugspaceNewTask"]["discriminator"]["mapping"]
    assert {"SCAN", "RECITE", "BIND", "ARCHITECT"} <= set(types)
    files = re.findall(r'(?:src|href|data-document)="([^"]+)"', page[1])
    assert all(file.startswith(("/files/", "/queue/")) for file in files)


def test_every_page_of_ours_is_in_the_admin_of_the_project(shop: Shop):
    seen = shop.python(
        """
        import re
        from django.test import Client
        from shop.models import User
        client = Client()
        client.force_login(User.objects.get(email="root@shop.example"))
        todo, seen = ["/backoffice/"], {}
        while todo:
            place = todo.pop()
            answer = client.get(place)
            seen[place] = answer.status_code
            found = set(re.findall(r'href="(/[^"?#]*)"', answer.content.decode()))
            todo += {f for f in found if f.startswith("/backoffice/pl")} - set(seen) - set(todo)
        tell(seen)
        """
    )

    assert {place: status for place, status in seen.items() if status != 200} == {}
    assert {f"/backoffice/plugspace_queue/{name}/" for name in ("task", "workflow", "worker")} <= (
        set(seen)
    )
    assert any("/task/" in place and place.endswith("/change/") for place in seen)


def test_a_member_of_the_project_submits_by_session(shop: Shop):
    """Its users have no number, its cookies other names."""
    told = shop.python(
        SUBMIT
        + """
from django.test import Client
from shop.models import User
ann = User.objects.get(email="ann@old.example")
queue_manager.set_member(str(company.pk), ann, role="member")
client = Client(enforce_csrf_checks=True)
client.force_login(ann)
body = {"type": "SCAN", "projectId": "p", "input": {"title": "Stella"}}
ask = lambda: client.post("/queue/api/v1/tasks/", body, "application/json").status_code
tell([client.get("/queue/api/v1/tasks/").status_code, ask()])
"""
    )

    assert told == [200, 403]


def test_sigterm_lets_it_finish_and_ends_cleanly(shop: Shop, worker: Any, gate: Path):
    task = shop.python(
        SUBMIT
        + f"""
from threading import Event
handle = submit("Faust II", {str(gate)!r})
while queue_manager.get_task(handle.id).state != "processing":
    Event().wait(0.05)
tell(handle.id)
"""
    )

    worker.send_signal(signal.SIGTERM)
    until(gate.with_suffix(".told").exists, "the processor was not told")
    gate.touch()

    assert worker.wait(timeout=patient(40)) == 0
    assert "Traceback" not in log_of(shop)
    state, result = shop.python(
        SUBMIT + f"task = queue_manager.get_task({task!r}); tell([task.state, task.result])"
    )
    assert (state, result["pages"][0]) == ("complete", "Faust II, page 1")


def log_of(shop: Shop) -> str:
    """What the worker of the types said."""
    return shop.log_of("rqworker", *QUEUES).read_text()
