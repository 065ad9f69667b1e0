"""A workflow drawn on the server, and the same in words; an organization and what it used."""

import uuid
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from plugspace_queue import queue_manager
from plugspace_queue.dashboards import graphs
from plugspace_queue.domain.enums import State
from plugspace_queue.limits.quota import month_of
from plugspace_queue.models import MonthlyUsage, Organization, Task
from tests.admin.test_records import rows_of
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

WORKFLOWS = "/admin/plugspace_queue/workflow/"
ORGANIZATIONS = "/admin/plugspace_queue/organization/"


def start() -> uuid.UUID:
    make_organization()
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    return handle.workflow_id


def test_a_workflow_is_drawn_and_told_with_the_states_of_its_steps(root: Client):
    workflow_id = start()
    Task.objects.filter(workflow=workflow_id, type="ARCHITECT").update(
        state=State.PROCESSING, duration=1500
    )

    for part in ("change", "live"):
        page = rows_of(root, f"{WORKFLOWS}{workflow_id}/{part}/")
        assert page.count("<g class=") == 3
        assert page.count('class="psq-head"') == 2
        assert "processing, 1.5 s" in page
        assert ", after ARCHITECT" in page
        assert " style=" not in page


def test_a_drawing_costs_the_same_queries_whatever_its_size(root: Client):
    workflow_id = start()
    costs = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as asked:
            rows_of(root, f"{WORKFLOWS}{workflow_id}/live/")
        costs.append(len(asked))
        for number in range(5):
            make_task(workflow_id=workflow_id, step=10 + number)

    assert costs[0] == costs[1] <= 7


def test_steps_stand_right_of_all_they_wait_for():
    a, b, c, d = (Task(type=kind, state="waiting") for kind in ("CODE", "CODE", "CODE", "DEPLOY"))
    parents = {a.pk: [], b.pk: [a.pk], c.pk: [a.pk], d.pk: [a.pk, b.pk, c.pk]}

    graph = graphs.draw([a, b, c, d], parents)
    first, second, third, last = graph.nodes

    assert first.x < second.x == third.x < last.x
    assert second.y < third.y
    assert len(graph.edges) == 5
    assert graph.width >= last.x + graphs.BOX[0]
    assert graph.height >= third.y + graphs.BOX[1]


def test_a_ring_ends_and_is_drawn():
    a, b = Task(type="CODE"), Task(type="CODE")

    assert len(graphs.draw([a, b], {a.pk: [b.pk], b.pk: [a.pk]}).nodes) == 2


def test_a_workflow_whose_tasks_are_gone_says_so(root: Client):
    workflow_id = start()
    Task.objects.filter(workflow=workflow_id).delete()

    assert "Its tasks were pruned" in rows_of(root, f"{WORKFLOWS}{workflow_id}/change/")
    assert root.get(f"{WORKFLOWS}{uuid.uuid4()}/live/").status_code == 404


def test_staff_without_a_role_see_no_part_of_a_workflow(signed_in: Callable[[str], Client]):
    workflow_id = start()

    assert signed_in("").get(f"{WORKFLOWS}{workflow_id}/live/").status_code == 403


def test_an_organization_shows_what_it_used_of_what_it_has(root: Client):
    organization = make_organization("acme", tier="starter")
    task = make_task(organization=organization, project_id="<b>p</b>")
    MonthlyUsage.objects.create(
        organization=organization, type="CODE", month=month_of(task.queued_at), used=50
    )

    page = rows_of(root, f"{ORGANIZATIONS}acme/change/")

    assert "50 of 50, <strong>used up</strong>" in page
    assert "0 of 100 in 60 s" in page
    assert str(task.pk) in page
    assert "<b>p</b>" not in page
    assert "no limit" in rows_of(root, f"{ORGANIZATIONS}{make_organization('big').pk}/change/")


def test_an_organization_costs_the_same_queries_however_much_it_did(root: Client):
    make_organization("acme")
    costs = []
    for _ in range(2):
        make_task(organization=Organization.objects.get(pk="acme"))
        with CaptureQueriesContext(connection) as asked:
            rows_of(root, f"{ORGANIZATIONS}acme/change/")
        costs.append(len(asked))
        assert not [q for q in asked if "COUNT(" in q["sql"] and '_task"' in q["sql"]]
        for _ in range(7):
            make_task(organization=Organization.objects.get(pk="acme"))

    assert costs[0] == costs[1]


def test_without_redis_an_organization_still_opens(root: Client, cut_off: None):
    make_organization("acme")

    assert "Redis does not answer" in rows_of(root, f"{ORGANIZATIONS}acme/change/")
