"""The figures of queues: a tenant sees its own tasks, staff see all."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import routing, task_store
from plugspace_queue.domain.enums import Role, Scope, State
from plugspace_queue.models import QueueSettings
from plugspace_queue.services import organization_stats, queue_stats
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization, make_task
from tests.services.test_holdings import GATES

pytestmark = pytest.mark.django_db(transaction=True)

FIGURES = ("waiting", "active", "completed", "failed", "delayed")


def figures(client: ApiClient, kind: str = "ARCHITECT", **headers: str) -> tuple[int | None, ...]:
    """What both addresses say of a queue."""
    queue_stats.clear_cache()
    listed = client.get("/api/v1/queues/", headers=headers).json()["results"]
    row = next(row for row in listed if row["type"] == kind)
    assert client.get(f"/api/v1/queues/{kind.lower()}/", headers=headers).json() == row
    return tuple(row[name] for name in FIGURES)


@pytest.fixture
def busy(redis: Any) -> None:
    """Of acme's and of a rival's, tasks in every state that has a figure, two of them running."""
    for name, count in (("acme", 1), ("rival", 3)):
        organization = make_organization(name)
        for _ in range(count):
            queue_manager.add_task(**arguments(organization_id=name))
            make_task(organization=organization, state=State.RETRYING)
            make_task(organization=organization, state=State.FAILED)
        later = timezone.now() + timedelta(hours=1)
        queue_manager.add_task(**arguments(organization_id=name, run_at=later))
        make_task(organization=organization, state=State.COMPLETE)
        make_task(organization=organization, state=State.COMPLETE, type="CODE")
    routing.ask(task_store.configure("architect", **GATES), "architect")
    routing.ask(task_store.acquire("architect", worker="w", want=2, lease_ms=60_000), "architect")
    QueueSettings.objects.update_or_create(pk="ARCHITECT", defaults={"completed": 70, "failed": 7})


def test_a_tenant_sees_figures_of_its_own_tasks_only(
    busy: None, key_of: Callable[..., ApiClient], member_of: Callable[..., ApiClient]
):
    # Rows say waiting until a worker's guard has seen what it took.
    own, rivals = (1, 1, 1, 1, 2), (3, 1, 1, 3, 4)

    assert figures(key_of("acme", Scope.READ)) == own
    assert figures(member_of("acme", role=Role.VIEWER)) == own
    assert figures(key_of("rival")) == rivals
    assert figures(key_of("rival"), "CODE") == (0, 0, 1, 0, 0)
    assert figures(key_of("nobodys")) == (0, 0, 0, 0, 0)


def test_staff_see_all_or_the_organization_that_they_name(busy: None, staff: ApiClient):
    assert figures(staff) == (4, 2, 70, 7, 6)
    assert figures(staff, **{"X-Organization": "acme"}) == (1, 1, 1, 1, 2)


def test_more_than_can_be_counted_is_null_but_what_waits_is_told_by_its_line(
    acme: ApiClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(organization_stats, "MOST", 2)
    organization = make_organization("acme")
    queue_manager.add_tasks([arguments()] * 5)
    for _ in range(3):
        make_task(organization=organization, state=State.COMPLETE, type="CODE")
    make_task(organization=organization, state=State.FAILED)

    assert figures(acme) == (5, 0, None, 1, 0)


def test_the_figures_of_a_tenant_are_one_bounded_statement_a_second(
    acme: ApiClient, key_of: Callable[..., ApiClient]
):
    with CaptureQueriesContext(connection) as asked:
        for path in ("queues/", "queues/", "queues/code/"):
            assert acme.ask(path).status_code == 200
        assert key_of("rival").ask("queues/").status_code == 200

    counted = [query["sql"] for query in asked if "COUNT(" in query["sql"]]
    assert len(counted) == 2
    assert all(sql.count("LIMIT 10001") == 5 for sql in counted)
