"""One press of a button stays bounded, however many rows are chosen."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from plugspace_queue.admin import actions
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from tests.admin.test_records import TASKS, rows_of
from tests.factories import make_task

pytestmark = pytest.mark.django_db


def cancel_all(client: Client, query: str = "") -> None:
    one = str(Task.objects.values_list("pk", flat=True)[0])
    chosen = {"action": "cancel_chosen", "_selected_action": [one], "select_across": "1"}
    assert client.post(f"{TASKS}{query}", chosen).status_code == 302


def cancelled() -> int:
    return Task.objects.filter(state=State.CANCELLED).count()


@pytest.mark.slow
def test_a_press_steers_a_thousand_rows_and_says_how_many_are_left(
    operator: Client, monkeypatch: pytest.MonkeyPatch
):
    assert actions.MOST == 1_000
    monkeypatch.setattr(actions, "MOST", 2)
    for _ in range(5):
        make_task()
    waiting = "?state__exact=waiting"

    cancel_all(operator, waiting)
    page = rows_of(operator, TASKS)
    assert cancelled() == 2
    assert "2 of 2 cancelled" in page
    assert "3 are left" in page

    cancel_all(operator, waiting)
    cancel_all(operator, waiting)
    assert cancelled() == 5


def test_a_press_within_the_bound_counts_nothing(operator: Client):
    make_task()

    with CaptureQueriesContext(connection) as asked:
        cancel_all(operator)

    assert "processed" not in rows_of(operator, TASKS)
    assert not [q["sql"] for q in asked if "COUNT(*)" in q["sql"]]
