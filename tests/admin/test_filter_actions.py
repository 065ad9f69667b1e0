"""A verb for a whole filter: the count and a reason first, then the same as for chosen rows."""

import re
from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from plugspace_queue.admin import actions
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from tests.admin.test_records import TASKS, rows_of
from tests.factories import make_task

pytestmark = pytest.mark.django_db

RETRY = f"{TASKS}all/retry/"
CANCEL = f"{TASKS}all/cancel/"
FAILED_CODE = "?state__exact=failed&type__exact=CODE"


@pytest.fixture
def failed() -> list[Task]:
    """Three failed tasks of CODE among others."""
    make_task(type="DESIGN", state=State.FAILED)
    make_task(type="CODE")
    make_task(type="CODE", state=State.COMPLETE)
    return [make_task(type="CODE", state=State.FAILED) for _ in range(3)]


def press(client: Client, address: str, reason: str) -> str:
    """The page that a press of the button leads to."""
    return answered(client, address, reason, asked_at(client, address))


def answered(client: Client, address: str, reason: str, moment: str) -> str:
    """The same by a form that was asked for at a moment."""
    told = {"reason": reason, "asked_at": moment}
    return client.post(address, told, follow=True).content.decode()


def asked_at(client: Client, address: str) -> str:
    """When the form in the page was asked for, as it says itself."""
    found = re.search(r'name="asked_at" value="(\d+)"', rows_of(client, address))
    assert found is not None
    return found[1]


def states(tasks: list[Task]) -> list[str]:
    return list(
        Task.objects.filter(pk__in=[task.pk for task in tasks]).values_list("state", flat=True)
    )


def test_the_page_counts_what_the_filter_finds_and_does_nothing_yet(
    operator: Client, failed: list[Task]
):
    page = rows_of(operator, f"{RETRY}{FAILED_CODE}")

    assert "<strong>3 tasks</strong> can be retried" in page
    assert "state is <strong>failed</strong> and type is <strong>CODE</strong>" in page
    assert "Retry 3 tasks</button>" in page
    assert states(failed) == [State.FAILED] * 3


def test_a_press_with_a_reason_retries_these_and_no_others(operator: Client, failed: list[Task]):
    said = press(operator, f"{RETRY}{FAILED_CODE}", "the model is back")

    assert "3 of 3 queued for retry: the model is back." in said
    assert states(failed) == [State.WAITING] * 3
    assert Task.objects.filter(type="DESIGN", state=State.FAILED).count() == 1
    noted = LogEntry.objects.values_list("change_message", flat=True)
    assert list(noted) == ["Queued for retry: the model is back"] * 3


def test_without_a_reason_nothing_is_done(operator: Client, failed: list[Task]):
    page = press(operator, f"{RETRY}{FAILED_CODE}", "")

    assert "This field is required" in page
    assert states(failed) == [State.FAILED] * 3


def test_the_list_leads_there_with_its_filter_from_any_page(operator: Client, failed: list[Task]):
    page = rows_of(operator, f"{TASKS}{FAILED_CODE}&before={failed[-1].pk}")

    assert f'href="{RETRY}?state__exact=failed&amp;type__exact=CODE"' in page
    counted = rows_of(operator, f"{RETRY}{FAILED_CODE}&before={failed[0].pk}")
    assert "<strong>3 tasks</strong>" in counted


def test_a_press_takes_only_what_was_there_when_it_was_counted(
    operator: Client, failed: list[Task]
):
    moment = asked_at(operator, f"{RETRY}{FAILED_CODE}")
    late = make_task(type="CODE", state=State.FAILED)

    assert "3 of 3 queued for retry" in answered(operator, f"{RETRY}{FAILED_CODE}", "x", moment)
    assert states([late]) == [State.FAILED]

    moment = asked_at(operator, f"{CANCEL}?type__exact=CODE")
    later = make_task(type="CODE")
    answered(operator, f"{CANCEL}?type__exact=CODE", "x", moment)
    assert states([later]) == [State.WAITING]


@pytest.mark.parametrize("moment", ["", "yesterday", "-1", "9" * 40])
def test_a_press_that_does_not_say_when_it_was_counted_does_nothing(
    operator: Client, failed: list[Task], moment: str
):
    page = answered(operator, f"{RETRY}{FAILED_CODE}", "x", moment)

    assert "<strong>3 tasks</strong> can be retried" in page
    assert states(failed) == [State.FAILED] * 3


def test_neither_page_nor_press_reads_the_large_columns(operator: Client, failed: list[Task]):
    address = f"{RETRY}{FAILED_CODE}"
    moment = asked_at(operator, address)

    with CaptureQueriesContext(connection) as asked:
        operator.get(address)
    assert not [q for q in asked.captured_queries if '_task"."result"' in q["sql"]]
    with CaptureQueriesContext(connection) as pressed:
        operator.post(f"{CANCEL}?state__exact=failed", {"reason": "x", "asked_at": moment})
    assert not [q for q in pressed.captured_queries if '_task"."result"' in q["sql"]]


def test_the_page_tells_every_value_of_a_filter_and_none_that_does_not_filter(
    operator: Client, failed: list[Task]
):
    both = rows_of(operator, f"{RETRY}?type__exact=CODE&type__exact=DESIGN&p=0&o=1")

    assert "<strong>4 tasks</strong>" in both
    assert "where type is <strong>CODE or DESIGN</strong>." in both
    assert "no filter is set" in rows_of(operator, f"{RETRY}?p=0&q=%20")


def test_a_priority_that_is_none_finds_not_everything(operator: Client, failed: list[Task]):
    answer = operator.get(f"{CANCEL}?priority=7")

    assert (answer.status_code, answer.headers["Location"]) == (302, TASKS)


def test_cancel_takes_what_has_not_ended(operator: Client, failed: list[Task]):
    assert "<strong>1 task</strong> can be cancelled" in rows_of(
        operator, f"{CANCEL}?type__exact=CODE"
    )

    press(operator, f"{CANCEL}?type__exact=CODE", "ordered twice")

    assert Task.objects.filter(state=State.CANCELLED).count() == 1


def test_a_filter_that_finds_nothing_to_retry_says_so(operator: Client, failed: list[Task]):
    assert "can be retried: only failed" in rows_of(operator, f"{RETRY}?state__exact=complete")


def test_very_many_are_counted_up_to_a_limit_and_taken_in_portions(
    operator: Client, failed: list[Task], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(actions, "MOST_COUNTED", 2)
    monkeypatch.setattr(actions, "MOST", 1)

    page = rows_of(operator, f"{RETRY}{FAILED_CODE}")
    assert "More than 2 tasks" in page
    assert "One request processes the newest 1" in page

    said = press(operator, f"{RETRY}{FAILED_CODE}", "x")
    assert "1 of 1 queued for retry" in said
    assert states(failed).count(State.WAITING) == 1


def test_what_a_press_left_is_counted_up_to_the_same_limit(
    operator: Client, failed: list[Task], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(actions, "MOST_COUNTED", 2)
    monkeypatch.setattr(actions, "MOST", 1)

    assert "more than 1 are left" in press(operator, f"{RETRY}{FAILED_CODE}", "x")


def test_after_a_press_the_list_still_has_its_filter(operator: Client, failed: list[Task]):
    moment = asked_at(operator, f"{RETRY}{FAILED_CODE}")

    answer = operator.post(f"{RETRY}{FAILED_CODE}", {"reason": "x", "asked_at": moment})

    assert answer.headers["Location"] == f"{TASKS}{FAILED_CODE}"


def test_a_filter_that_makes_no_sense_leads_back_to_the_list(operator: Client):
    answer = operator.get(f"{RETRY}?type__foo=1")

    assert (answer.status_code, answer.headers["Location"]) == (302, TASKS)


def test_only_operators_get_there(signed_in: Callable[[str], Client], failed: list[Task]):
    viewer = signed_in("viewer")

    assert "all/retry" not in rows_of(viewer, TASKS)
    assert viewer.get(RETRY).status_code == 403
    assert viewer.post(RETRY, {"reason": "x"}).status_code == 403
    assert states(failed) == [State.FAILED] * 3


def test_an_unknown_verb_is_not_there(operator: Client):
    assert operator.get(f"{TASKS}all/delete/").status_code == 404
