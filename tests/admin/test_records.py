"""Records in the admin: looked at, found, steered, never edited."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Attempt, MonthlyUsage, Task, Workflow
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db

TASKS = "/admin/plugspace_queue/task/"
RECORDS = ("task", "attempt", "workflow", "monthlyusage", "usageentry", "idempotencykey")
PAGES = ("dashboard", "worker", "audit", "failuregroup")
EDITABLE = ("tierpolicy", "queuesettings", "organization", "membership", "apikey")


def rows_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def with_data() -> Workflow:
    make_organization()
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    task = make_task(state=State.FAILED, error={"code": "TIMEOUT", "message": "too slow"})
    now = task.queued_at
    Attempt.objects.create(
        task=task, number=1, fence=1, started_at=now, ended_at=now, outcome="failed"
    )
    return Workflow.objects.get(pk=handle.workflow_id)


def test_every_model_of_the_app_has_its_pages(root: Client):
    with_data()
    ours = {m._meta.model_name for m in admin.site._registry if m._meta.app_label == TASKS[7:22]}

    assert ours == {*RECORDS, *EDITABLE, *PAGES}
    for name in ours:
        response = root.get(reverse(f"admin:plugspace_queue_{name}_changelist"))
        assert response.status_code == 200, name


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_never_added_edited_or_deleted_even_by_a_superuser(root: Client, name: str):
    with_data()
    model = next(m for m in admin.site._registry if m._meta.model_name == name)
    row = model._default_manager.first()

    assert root.get(reverse(f"admin:plugspace_queue_{name}_add")).status_code == 403
    if row is not None:
        page = reverse(f"admin:plugspace_queue_{name}_change", args=[row.pk])
        assert root.get(page).status_code == 200
        assert root.post(page, {}).status_code == 403
        delete = reverse(f"admin:plugspace_queue_{name}_delete", args=[row.pk])
        assert root.post(delete, {"post": "yes"}).status_code == 403


def test_the_list_of_tasks_goes_from_page_to_page_by_id(root: Client):
    tasks = [make_task() for _ in range(51)]

    first = rows_of(root, TASKS)
    assert str(tasks[0].pk) not in first
    assert f"before={tasks[1].pk}" in first
    second = rows_of(root, f"{TASKS}?before={tasks[1].pk}")
    assert str(tasks[0].pk) in second
    assert "Newest" in second
    assert "Older" not in second


@pytest.mark.parametrize("name", RECORDS)
def test_a_list_costs_the_same_queries_whatever_its_length_and_counts_nothing(
    root: Client, name: str
):
    counts = []
    for _ in range(2):
        for number in range(6):
            with_data()
            key = f"{len(counts)}-{number}"
            queue_manager.add_task(**arguments(idempotency_key=key))
        with CaptureQueriesContext(connection) as queries:
            rows_of(root, reverse(f"admin:plugspace_queue_{name}_changelist"))
        counts.append(len(queries))
        assert not [q["sql"] for q in queries if "COUNT(" in q["sql"]]

    assert counts[0] == counts[1] <= 6


def test_the_page_of_a_task_costs_a_fixed_number_of_queries(root: Client):
    parent = make_task(state=State.COMPLETE)
    for number in range(4):
        make_organization()
        queue_manager.add_task(**arguments(depends_on=[parent.pk], project_id=f"p{number}"))
    # The first look of a process also reads which content types there are.
    rows_of(root, f"{TASKS}{parent.pk}/change/")
    with CaptureQueriesContext(connection) as queries:
        page = rows_of(root, f"{TASKS}{parent.pk}/change/")

    assert page.count("(waiting)") == 4
    assert len(queries) <= 8


@pytest.mark.parametrize("find", ["id", "project_id", "organization_id", "user"])
def test_a_task_is_found_by_id_project_organization_and_user(root: Client, find: str):
    task = make_task(project_id="p-1", user_id="u-1", organization=make_organization("org-1"))
    other = make_task()
    term = "user:u-1 org:org-1" if find == "user" else str(getattr(task, find))

    page = rows_of(root, f"{TASKS}?q={term}")

    assert str(task.pk) in page
    assert str(other.pk) not in page


def test_filters_keep_their_place_in_the_links_of_the_pages(root: Client):
    for _ in range(51):
        make_task(type="CODE")
    make_task(type="DESIGN")

    page = rows_of(root, f"{TASKS}?type__exact=CODE")

    assert re.search(r"\?before=[0-9a-f-]{36}&amp;type__exact=CODE", page)
    assert '<td class="field-type">DESIGN' not in page


def test_the_list_says_how_long_ago_a_task_was_queued(root: Client):
    make_task()
    make_task(queued_at=timezone.now() - timedelta(minutes=7, seconds=5))

    page = rows_of(root, TASKS).replace("\xa0", " ")

    assert page.count(">just now</time>") == 1
    assert page.count(">7 minutes ago</time>") == 1


def test_text_of_tenants_is_escaped(root: Client):
    evil = "<script>alert(1)</script>"
    task = make_task(project_id=evil, input={"prompt": evil}, error={"message": evil})

    for page in (TASKS, f"{TASKS}{task.pk}/change/"):
        assert evil not in rows_of(root, page)


def act(client: Client, action: str, *tasks: Task) -> None:
    chosen = {"action": action, "_selected_action": [str(task.pk) for task in tasks]}
    assert client.post(TASKS, chosen).status_code in (200, 302)


def test_operators_cancel_and_retry_through_the_manager(operator: Client):
    waiting, ended = make_task(), make_task(state=State.COMPLETE)

    act(operator, "cancel_chosen", waiting, ended)
    waiting.refresh_from_db()
    assert waiting.state == State.CANCELLED
    assert "1 of 2 cancelled" in rows_of(operator, TASKS)

    act(operator, "retry_chosen", waiting)
    waiting.refresh_from_db()
    assert waiting.state == State.WAITING


def test_the_page_of_a_task_offers_what_its_state_allows(operator: Client):
    waiting, failed, done = (make_task(state=s) for s in ("waiting", "failed", "complete"))

    def offers(task: Task) -> tuple[bool, bool]:
        page = rows_of(operator, f"{TASKS}{task.pk}/change/")
        return f'{task.pk}/cancel/"' in page, f'{task.pk}/retry/"' in page

    assert [offers(task) for task in (waiting, failed, done)] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_the_button_of_a_task_cancels_it(operator: Client):
    task = make_task()
    address = reverse("admin:plugspace_queue_task_cancel", args=[task.pk])

    assert operator.get(address).status_code == 405
    assert operator.post(address).status_code == 302
    task.refresh_from_db()
    assert task.state == State.CANCELLED


def test_a_viewer_sees_everything_and_steers_nothing(signed_in: Callable[[str], Client]):
    viewer, task = signed_in("viewer"), make_task()
    button = reverse("admin:plugspace_queue_task_cancel", args=[task.pk])

    assert "cancel_chosen" not in rows_of(viewer, TASKS)
    act(viewer, "cancel_chosen", task)
    assert viewer.post(button).status_code == 403
    task.refresh_from_db()
    assert task.state == State.WAITING


def test_staff_without_a_role_see_nothing(signed_in: Callable[[str], Client]):
    clerk = signed_in("")

    assert clerk.get(TASKS).status_code == 403
    assert "/admin/plugspace_queue/" not in rows_of(clerk, "/admin/")


def test_a_workflow_shows_its_steps_and_is_cancelled_as_a_whole(operator: Client):
    workflow = with_data()
    address = reverse("admin:plugspace_queue_workflow_changelist")

    assert "ARCHITECT: waiting" in rows_of(operator, address)
    operator.post(address, {"action": "cancel_chosen", "_selected_action": [str(workflow.pk)]})
    assert set(workflow.tasks.values_list("state", flat=True)) == {State.CANCELLED}


def test_a_list_of_tasks_never_pretends_to_know_how_many_there_are(root: Client):
    for _ in range(51):
        make_task()

    page = rows_of(root, TASKS)

    assert "Show all" not in page
    assert "Show counts" not in page
    assert "50+ tasks" in page


@pytest.mark.parametrize(("priority", "rows"), [("2", 1), ("0", 0)])
def test_the_filter_of_priorities_knows_all_four_without_asking(
    root: Client, priority: str, rows: int
):
    task = make_task(priority=2)
    with CaptureQueriesContext(connection) as queries:
        page = rows_of(root, f"{TASKS}?priority={priority}")

    assert page.count(f">{task.pk}<") == rows
    assert not [q for q in queries if "DISTINCT" in q["sql"]]


@pytest.mark.parametrize("place", ["²", "9" * 5000, "9" * 60, "-1", "x"])
@pytest.mark.parametrize("name", ["task", "attempt"])
def test_a_place_that_is_none_shows_the_first_page(root: Client, name: str, place: str):
    with_data()
    row = {"task": Task, "attempt": Attempt}[name].objects.order_by("-pk").first()

    page = reverse(f"admin:plugspace_queue_{name}_changelist")
    response = root.get(page, {"before": place})

    assert response.status_code == 200
    assert row is not None
    assert f">{row.pk}<" in response.content.decode()


def test_records_are_looked_up_by_the_filters_of_their_list_only(root: Client):
    assert root.get(f"{TASKS}?state__exact=failed").status_code == 200
    for lookup in ("input__prompt__contains", "user_id__icontains", "organization__name"):
        assert root.get(f"{TASKS}?{lookup}=x").status_code == 400


def test_lists_and_histories_leave_large_columns_where_they_are(root: Client):
    workflow = with_data()
    task = Task.objects.get(state=State.FAILED)
    pages = {
        reverse("admin:plugspace_queue_attempt_changelist"): '_attempt"."log"',
        reverse("admin:plugspace_queue_workflow_changelist"): '_workflow"."input"',
        f"{TASKS}{task.pk}/change/": '_attempt"."log"',
    }

    for address, column in pages.items():
        with CaptureQueriesContext(connection) as queries:
            rows_of(root, address)
        assert not [q for q in queries if column in q["sql"]], address
    assert "A bakery" in rows_of(root, f"/admin/plugspace_queue/workflow/{workflow.pk}/change/")


def test_staff_retry_a_workflow_without_a_charge(operator: Client):
    workflow = with_data()
    queue_manager.cancel_workflow(workflow.pk)
    before = list(MonthlyUsage.objects.values_list("type", "used"))

    address = reverse("admin:plugspace_queue_workflow_changelist")
    operator.post(address, {"action": "retry_chosen", "_selected_action": [str(workflow.pk)]})

    assert set(workflow.tasks.values_list("state", flat=True)) == {State.WAITING, State.BLOCKED}
    assert list(MonthlyUsage.objects.values_list("type", "used")) == before
