"""Limits on the page of a queue: the values in force, the difference before it is saved, an end."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.limits import policies
from plugspace_queue.models import Override, QueueSettings
from tests.admin.test_records import rows_of

pytestmark = pytest.mark.django_db

PAGE = "/admin/plugspace_queue/dashboard/code/"
LIMITS = f"{PAGE}limits/"


def value_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]*value="([^"]*)"', page)
    return found[1] if found else ""


def filled(client: Client, **changes: object) -> dict[str, object]:
    """The form as a browser sends it, with some values changed."""
    page = rows_of(client, PAGE)
    names = (*("limiter_max", "limiter_duration", "concurrency"), "global_concurrency", "seen")
    values = {name: value_of(page, name).replace("&quot;", '"') for name in names}
    return {**values, "organization_concurrency": "", "reason": "launch", **changes}


def review(client: Client, **changes: object) -> str:
    response = client.post(LIMITS, filled(client, **changes))
    assert response.status_code == 200
    return response.content.decode()


def hidden(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: value.replace("&quot;", '"') for name, value in found}


def code() -> QueueSettings:
    return QueueSettings.objects.get(pk="CODE")


def test_the_form_begins_with_the_values_in_force(operator: Client):
    page = rows_of(operator, PAGE)
    policy = policies.queue_settings("CODE")

    assert value_of(page, "concurrency") == str(policy.concurrency)
    assert value_of(page, "limiter_max") == str(policy.limiter_max or "")

    queue_manager.set_queue("CODE", {"limiter_max": 77})
    assert value_of(rows_of(operator, PAGE), "limiter_max") == "77"


def test_the_difference_is_shown_before_anything_is_saved(operator: Client):
    queue_manager.set_queue("CODE", {"limiter_max": 20, "limiter_duration": 60})

    page = review(operator, limiter_max=200)

    assert "<td>20</td><td><strong>200</strong></td>" in page
    assert "Slots per worker" not in page
    assert code().limiter_max == 20
    assert not LogEntry.objects.exists()
    operator.post(LIMITS, hidden(page))
    assert code().limiter_max == 200
    assert LogEntry.objects.get().change_message == "Limits: starts 20 → 200: launch"


def test_a_field_that_was_left_as_it_is_does_not_fix_a_default(operator: Client):
    page = review(operator, global_concurrency=9)
    operator.post(LIMITS, hidden(page))

    row = code()
    assert (row.global_concurrency, row.concurrency, row.limiter_max) == (9, None, None)


def test_limits_of_two_hours_are_an_override_and_the_settings_stay(operator: Client):
    queue_manager.set_queue("CODE", {"limiter_max": 20, "limiter_duration": 60})

    page = review(operator, limiter_max=200, length="2h")
    assert "then the settings of the queue count again" in page
    operator.post(LIMITS, hidden(page))

    row = Override.objects.get()
    assert (row.key, row.value, row.duration, row.author) == ("limiter", 200, 60.0, "operator")
    assert abs(row.ends_at - timezone.now() - timedelta(hours=2)) < timedelta(minutes=1)
    assert code().limiter_max == 20
    assert policies.queue_settings("CODE").limiter_max == 200
    page = rows_of(operator, PAGE)
    assert "CODE 200 starts in 60 s" in page
    assert "in force" in page
    assert value_of(page, "limiter_max") == "20"
    said = LogEntry.objects.get().change_message
    assert said.startswith("For a while: CODE 200 starts in 60 s until ")
    assert "starts 20 → 200" in said


def test_an_end_may_be_a_moment(operator: Client):
    moment = timezone.localtime(timezone.now() + timedelta(hours=5)).replace(microsecond=0)

    page = review(operator, global_concurrency=5, until=moment.strftime("%Y-%m-%dT%H:%M"))
    operator.post(LIMITS, hidden(page))

    assert Override.objects.get().ends_at == moment.replace(second=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"until": "2020-01-01T10:00", "concurrency": 9}, "must be in the future"),
        ({"until": "tomorrow", "concurrency": 9}, "Enter a valid date"),
        ({"until": "2199-01-01T10:00", "length": "1h"}, "not both"),
        ({"length": "2h", "concurrency": ""}, "needs a number"),
        ({"length": "2h", "limiter_max": "", "limiter_duration": 5}, "needs a number"),
        ({"length": "9y", "concurrency": 9}, "Select a valid choice"),
    ],
)
def test_an_end_that_makes_no_sense_changes_nothing(
    operator: Client, given: dict[str, object], said: str
):
    assert said in review(operator, **given)
    assert not Override.objects.exists()


def test_limits_that_somebody_changed_meanwhile_are_shown_again(operator: Client):
    page = review(operator, global_concurrency=9)
    queue_manager.set_queue("CODE", {"global_concurrency": 3})

    again = operator.post(LIMITS, hidden(page)).content.decode()

    assert "nothing was saved" in again
    assert "<td>3</td><td><strong>9</strong></td>" in again
    assert code().global_concurrency == 3
    operator.post(LIMITS, hidden(again))
    assert code().global_concurrency == 9


def test_an_override_is_ended_for_a_reason(operator: Client):
    [row] = queue_manager.override_queue("CODE", concurrency=9, reason="launch")
    end = f"{PAGE}overrides/{row.pk}/end/"

    said = operator.post(end, {"reason": ""}, follow=True).content.decode()
    assert "a reason is needed" in said
    assert policies.queue_settings("CODE").concurrency == 9

    operator.post(end, {"reason": "it is over"})
    row.refresh_from_db()
    assert row.is_over(timezone.now())
    page = rows_of(operator, PAGE)
    assert "1 that is over" in page
    assert "None is in force or to come." in page
    assert LogEntry.objects.get().change_message.startswith("Ended: CODE concurrency 9")


def test_an_override_of_another_queue_or_of_an_organization_is_not_ended_here(
    operator: Client,
):
    [row] = queue_manager.override_queue("DESIGN", concurrency=9, reason="launch")

    assert operator.post(f"{PAGE}overrides/{row.pk}/end/", {"reason": "x"}).status_code == 404
    assert operator.post(f"{PAGE}overrides/4711/end/", {"reason": "x"}).status_code == 404
    row.refresh_from_db()
    assert not row.is_over(timezone.now())


def test_a_viewer_reads_overrides_and_ends_none(signed_in: Callable[[str], Client]):
    [row] = queue_manager.override_queue("CODE", concurrency=9, reason="launch")
    viewer = signed_in("viewer")

    page = rows_of(viewer, PAGE)

    assert "CODE concurrency 9" in page
    assert "End now" not in page
    assert viewer.post(f"{PAGE}overrides/{row.pk}/end/", {"reason": "x"}).status_code == 403
