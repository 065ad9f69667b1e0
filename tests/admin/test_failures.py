"""The failures page: what failed when and why, who was hit, and what is done about it."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue.admin import actions
from plugspace_queue.dashboards import failure_groups
from plugspace_queue.dashboards.time_ranges import moment_text
from plugspace_queue.domain.enums import State
from plugspace_queue.models import FailureGroup, FailureMinute, Task
from tests.admin.test_records import TASKS, rows_of
from tests.factories import fail_tasks, make_organization, make_task

pytestmark = pytest.mark.django_db

PAGE = "/admin/plugspace_queue/failuregroup/"
DASHBOARD = "/admin/plugspace_queue/dashboard/"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

INVALID = [
    "last=9y",
    "from=x&to=y",
    "from=1-1-1",
    "to=9999-12-31T00:00",
    "from=2026-13-01T00:00",
    "last=1h&from=yesterday",
    "state=ended",
    f"organization={'a' * 65}",
    "organization=ac%00me",
    f"type={'A' * 33}",
    "code=%00",
    "organisation=acme",
    "last=1h&organization__exact=acme",
]
"""Filters that are errors, never "no filter"."""


def page_of(group: FailureGroup, **query: str) -> str:
    words = "&".join(f"{name}={value}" for name, value in (query or {"last": "1h"}).items())
    return f"{PAGE}{group.pk}/change/?{words}"


def press(
    client: Client, group: FailureGroup, verb: str, told: dict[str, Any], **query: str
) -> str:
    """The page that a press leads to."""
    words = "&".join(f"{name}={value}" for name, value in (query or {"last": "1h"}).items())
    address = f"{PAGE}{group.pk}/{verb}/?{words}"
    return client.post(address, told, follow=True).content.decode()


def asked_at(page: str) -> str:
    found = re.search(r'name="asked_at" value="(\d+)"', page)
    assert found is not None
    return found[1]


def retry(client: Client, group: FailureGroup, reason: str, **query: str) -> str:
    moment = asked_at(rows_of(client, page_of(group, **query)))
    return press(client, group, "retry", {"reason": reason, "asked_at": moment}, **query)


def around(moment: datetime) -> dict[str, str]:
    """The query of the ten minutes around a moment."""
    return {"from": moment_text(moment - 5 * MINUTE), "to": moment_text(moment + 5 * MINUTE)}


def states() -> dict[str, int]:
    found: dict[str, int] = {}
    for state in Task.objects.values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def test_an_empty_page_says_that_nothing_failed(operator: Client):
    page = rows_of(operator, PAGE)

    assert "No task failed in the last 1 h." in page
    assert "Nothing failed in the last 1 h." in page


def test_causes_are_sorted_by_what_failed_in_the_time(operator: Client):
    now = timezone.now()
    fail_tasks(3, at=now, message="'fonts'")
    fail_tasks(5, at=now, message="'palette'")
    fail_tasks(9, at=now - 3 * HOUR, message="'images'")

    page = rows_of(operator, PAGE)

    assert page.index("KeyError: &#x27;palette&#x27;") < page.index("KeyError: &#x27;fonts&#x27;")
    assert "images" not in page
    assert "<strong>8 failed</strong> in the last 1 h" in page
    longer = rows_of(operator, f"{PAGE}?last=6h")
    assert longer.index("images") < longer.index("palette")


def test_a_time_between_two_moments_counts_only_what_failed_then(operator: Client):
    then = timezone.now() - 5 * HOUR
    fail_tasks(2, at=then)
    fail_tasks(4, at=then + HOUR)

    query = "&".join(f"{name}={value}" for name, value in around(then).items())
    page = rows_of(operator, f"{PAGE}?{query}")

    assert "<strong>2 failed</strong> from" in page
    assert f'value="{moment_text(then - 5 * MINUTE)}"' in page


def test_an_address_without_values_shows_the_last_hour(operator: Client):
    fail_tasks(1)

    assert "in the last 1 h" in rows_of(operator, f"{PAGE}?last=&from=&to=&type=&state=")


def test_type_code_and_organization_narrow_the_list(operator: Client):
    fail_tasks(1, type="CODE", message="'one'")
    fail_tasks(1, type="DESIGN", message="'two'")
    fail_tasks(1, type="DESIGN", code="TIMEOUT", message="'three'")
    fail_tasks(1, type="DESIGN", organization="bluebird", message="'four'")

    def found(query: str) -> list[str]:
        page = rows_of(operator, f"{PAGE}?{query}")
        return [word for word in ("one", "two", "three", "four") if f"&#x27;{word}&#x27;" in page]

    assert found("type=DESIGN") == ["two", "three", "four"]
    assert found("code=TIMEOUT") == ["three"]
    assert found("organization=bluebird") == ["four"]
    assert found("type=DESIGN&organization=acme&code=INTERNAL_ERROR") == ["two"]
    assert found("type=NOTHING") == []
    assert found("type=DESIGN&code=NOTHING") == []
    assert "No such task failed" in rows_of(operator, f"{PAGE}?organization=nobody")


@pytest.mark.parametrize("query", INVALID)
def test_a_filter_that_is_not_valid_is_an_error_and_finds_nothing(operator: Client, query: str):
    made = fail_tasks(2)

    for address in (PAGE, f"{PAGE}live/", f"{PAGE}{made.group.pk}/change/"):
        page = rows_of(operator, f"{address}?{query}")
        assert "palette&#x27;</a>" not in page
        assert "<strong>2 failed</strong>" not in page
        assert "Nothing failed" not in page
        assert "No such task failed" not in page
    assert 'role="alert"' in rows_of(operator, f"{PAGE}?{query}")


@pytest.mark.parametrize("query", INVALID)
def test_nothing_is_retried_by_a_filter_that_is_not_valid(operator: Client, query: str):
    made = fail_tasks(2, organization="acme")
    fail_tasks(3, organization="bluebird")
    moment = asked_at(rows_of(operator, page_of(made.group)))

    address = f"{PAGE}{made.group.pk}/retry/?{query}"
    answer = operator.post(address, {"reason": "x", "asked_at": moment}, follow=True)

    assert 'role="alert"' in answer.content.decode()
    assert states() == {"failed": 5}
    assert not LogEntry.objects.exists()


def test_an_organization_that_is_unknown_finds_nothing_and_is_no_other_one(operator: Client):
    made = fail_tasks(2)

    page = rows_of(operator, page_of(made.group, last="1h", organization="nobody"))
    assert "Bars and tasks are of nobody only." in page
    retry_of = {"reason": "x", "asked_at": "9" * 15}
    press(operator, made.group, "retry", retry_of, last="1h", organization="nobody")

    assert states() == {"failed": 2}


def test_each_bucket_is_a_link_for_those_without_a_script(operator: Client):
    then = timezone.now() - 10 * MINUTE
    fail_tasks(7, at=then)

    page = rows_of(operator, f"{PAGE}?type=CODE")

    start = then.replace(second=0, microsecond=0)
    query = f"from={moment_text(start)}&to={moment_text(start + MINUTE)}".replace(":", "%3A")
    link = f'href="?{query.replace("&", "&amp;")}&amp;type=CODE"'
    assert link in page
    assert "<strong>7 failed</strong>" in rows_of(operator, f"{PAGE}?{query}")


def test_muted_and_resolved_causes_are_left_out_and_counted_in_a_sentence(operator: Client):
    now = timezone.now()
    fail_tasks(1, message="'open'")
    fail_tasks(2, message="'muted'").decide("muted", muted_until=now + HOUR)
    fail_tasks(3, message="'resolved'").decide("resolved")
    fail_tasks(4, message="'mute is over'").decide("muted", muted_until=now - MINUTE)
    fail_tasks(6, message="'muted for ever'").decide("muted")

    def found(state: str) -> list[str]:
        page = rows_of(operator, f"{PAGE}?state={state}")
        return re.findall(r"KeyError: &#x27;([\w ]+)&#x27;</a>", page)

    assert found("") == ["mute is over", "open"]
    assert "11 further failures of muted or resolved causes" in rows_of(operator, PAGE)
    assert found("muted") == ["muted for ever", "muted"]
    assert found("resolved") == ["resolved"]
    assert len(found("all")) == 5


def test_the_group_says_who_was_hit_where_it_was_raised_and_what_helps(operator: Client):
    made = fail_tasks(3, organization="acme", stack="Traceback\n  File build.py\nKeyError\n")
    fail_tasks(5, organization="bluebird")
    make_organization("kite")

    page = rows_of(operator, page_of(made.group))

    assert page.index(">bluebird</a><span>5 failed") < page.index(">acme</a><span>3 failed")
    assert "kite" not in page
    assert "File build.py\nKeyError" in page
    assert "see the stack" in page
    assert str(made.tasks[0].pk) in page


def test_a_group_of_one_organization_shows_its_bars_and_tasks_only(operator: Client):
    made = fail_tasks(3, organization="acme")
    fail_tasks(5, organization="bluebird")

    page = rows_of(operator, page_of(made.group, last="1h", organization="acme"))

    assert "<strong>3 failed</strong>" in page
    assert "of acme failed by this cause" in page
    assert page.count("<code>") - page.count("<dt>") <= 5
    assert "bluebird" in page


def test_what_tenants_wrote_stays_text_and_secrets_are_hidden(operator: Client):
    evil = "<script>alert(1)</script> Bearer abcdefghijkl"
    made = fail_tasks(1, message=evil, stack=f"Traceback\n{evil}")

    for page in (rows_of(operator, PAGE), rows_of(operator, page_of(made.group))):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "abcdefghijkl" not in page


def test_a_retry_takes_the_failed_tasks_of_the_group_and_the_time(operator: Client):
    now = timezone.now()
    made = fail_tasks(3, at=now - MINUTE)
    fail_tasks(2, at=now - 5 * HOUR)
    fail_tasks(4, message="'fonts'")
    page = rows_of(operator, page_of(made.group))
    assert "3 tasks failed by this cause in the last 1 h" in page
    assert "Retry up to 3</button>" in page

    said = retry(operator, made.group, "the model is back")

    assert "3 of 3 queued for retry: the model is back." in said
    assert states() == {"waiting": 3, "failed": 6}
    assert "None: all that failed in the last 1 h ran again since" in said
    notes = list(LogEntry.objects.values_list("object_id", "change_message"))
    assert (
        str(made.group.pk),
        "3 tasks that failed in the last 1 h queued for retry: the model is back",
    ) in notes
    assert len(notes) == 4


def test_a_retry_of_a_time_that_is_past_takes_no_other_one(operator: Client):
    then = timezone.now() - 5 * HOUR
    made = fail_tasks(2, at=then)
    fail_tasks(3, at=then + HOUR)

    assert "2 of 2 queued for retry" in retry(operator, made.group, "x", **around(then))
    assert states() == {"waiting": 2, "failed": 3}


def test_a_retry_of_one_organization_takes_no_other_ones(operator: Client):
    made = fail_tasks(2, organization="acme")
    fail_tasks(3, organization="bluebird")

    assert "2 of 2 queued for retry" in retry(
        operator, made.group, "x", last="1h", organization="acme"
    )
    assert Task.objects.filter(state=State.FAILED, organization="bluebird").count() == 3


def test_what_fails_after_the_page_was_shown_is_not_taken(operator: Client):
    made = fail_tasks(2)
    moment = asked_at(rows_of(operator, page_of(made.group)))
    fail_tasks(1, at=timezone.now())

    said = press(operator, made.group, "retry", {"reason": "x", "asked_at": moment})

    assert "2 of 2 queued for retry" in said


def test_very_many_are_retried_in_portions(operator: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(actions, "MOST", 2)
    made = fail_tasks(5)

    assert "Retry the newest 2</button>" in rows_of(operator, page_of(made.group))
    said = retry(operator, made.group, "x")

    assert "2 of 2 queued for retry" in said
    assert "3 are left" in said
    assert states() == {"waiting": 2, "failed": 3}


def test_expired_tasks_are_retried_too(operator: Client):
    made = fail_tasks(2, code="EXPIRED", state=State.EXPIRED)

    assert "2 of 2 queued for retry" in retry(operator, made.group, "workers are up")


def test_without_a_reason_nothing_is_retried(operator: Client):
    made = fail_tasks(2)

    assert "This field is required" in retry(operator, made.group, "")
    assert states() == {"failed": 2}


def test_a_mute_has_a_note_and_an_end_and_can_be_taken_back(operator: Client):
    made = fail_tasks(2)

    said = press(operator, made.group, "decide", {"verb": "mute", "until": "24h", "note": "known"})

    assert "The group is muted for 24 hours: known." in said
    row = FailureGroup.objects.get()
    assert (row.state, row.note, row.changed_by) == ("muted", "known", "operator")
    assert abs(row.muted_until - timezone.now() - timedelta(days=1)) < MINUTE
    assert "Note of operator" in said
    assert LogEntry.objects.get().change_message == "Muted for 24 hours: known"
    assert "Open again</button>" in said
    said = press(operator, made.group, "decide", {"verb": "mute", "until": "", "note": "known"})
    assert "The group is muted without an end: known." in said

    press(operator, made.group, "decide", {"verb": "reopen", "note": "not so"})
    row = FailureGroup.objects.get()
    assert (row.state, row.muted_until, row.note) == ("open", None, "not so")


def test_a_resolved_group_that_came_back_says_so(operator: Client):
    made = fail_tasks(2, at=timezone.now() - 2 * MINUTE)
    press(operator, made.group, "decide", {"verb": "resolve", "note": "mended"})
    assert "No task failed" in rows_of(operator, PAGE)

    fail_tasks(1, at=timezone.now() + timedelta(seconds=1))

    assert "recurred" in rows_of(operator, PAGE)
    assert "recurred" in rows_of(operator, page_of(made.group))


@pytest.mark.parametrize(
    "told", [{"verb": "mute"}, {"verb": "mute", "note": "x", "until": "9y"}, {"note": "x"}, {}]
)
def test_a_decision_that_makes_no_sense_decides_nothing(operator: Client, told: dict[str, str]):
    made = fail_tasks(1)

    press(operator, made.group, "decide", told)

    assert FailureGroup.objects.get().state == "open"
    assert not LogEntry.objects.exists()


def test_a_viewer_looks_and_presses_nothing(signed_in: Callable[[str], Client]):
    viewer, made = signed_in("viewer"), fail_tasks(2)

    page = rows_of(viewer, page_of(made.group))

    assert "need the permission to operate the queue" in page
    assert '<button type="submit" class="button default">' not in page
    for verb in ("retry", "decide"):
        assert viewer.post(f"{PAGE}{made.group.pk}/{verb}/", {"reason": "x"}).status_code == 403


def test_causes_too_many_to_be_kept_apart_are_not_retried(operator: Client):
    made = fail_tasks(2, fingerprint="")

    page = rows_of(operator, page_of(made.group))

    assert "too many different ones to keep them apart" in page
    assert "Retry" not in page.replace("Retry, mute", "")
    said = press(operator, made.group, "retry", {"reason": "x", "asked_at": "9" * 15})
    assert "0 of 0 queued for retry" in said
    assert states() == {"failed": 2}


def test_a_group_that_is_gone_is_not_there(operator: Client):
    for pk in ("4711", "9" * 30, "9" * 5000):
        assert operator.get(f"{PAGE}{pk}/change/").status_code == 404


def test_many_groups_are_cut_and_the_page_says_so(
    operator: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(failure_groups, "MOST_GROUPS", 2)
    for number, word in enumerate(("one", "two", "three")):
        fail_tasks(number + 1, message=word)

    page = rows_of(operator, PAGE)

    assert "The 2 causes with most failures" in page
    assert "<strong>6 failed</strong>" in page


def statements(client: Client, address: str) -> list[str]:
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        rows_of(client, address)
    found = [q["sql"] for q in queries]
    return [sql for sql in found if "plugspace_queue_" in sql]


@pytest.mark.parametrize("groups", [1, 12])
def test_pages_ask_the_same_however_much_failed_and_count_no_tasks(operator: Client, groups: int):
    for number in range(groups):
        for organization in ("acme", "bluebird")[: 1 + groups // 12]:
            word = "abcdefghijkl"[number]
            made = fail_tasks(groups, message=word, organization=organization)

    listed = statements(operator, PAGE)
    shown = statements(operator, page_of(made.group))

    # What is known, groups, sparklines, bars, what is hidden, the groups' rows.
    assert len(listed) == 6
    # Group, bars, organizations, tasks.
    assert len(shown) == 4
    on_tasks = [sql for sql in listed + shown if '"plugspace_queue_task"' in sql]
    assert len(on_tasks) == 1
    assert "COUNT" not in on_tasks[0]
    assert '_task"."result"' not in on_tasks[0]


def test_the_first_page_has_a_red_row_that_leads_there(operator: Client):
    now = timezone.now()
    fail_tasks(3, type="CODE", at=now)
    fail_tasks(2, type="DEPLOY", at=now, organization="bluebird", message="'x'")
    fail_tasks(4, type="CODE", at=now - 90 * MINUTE)
    fail_tasks(9, message="'muted'").decide("muted")

    page = rows_of(operator, DASHBOARD)

    assert f'href="{PAGE}?last=1h"><strong>5 tasks failed</strong> in the last hour' in page
    assert "(4 in the hour before)" in page
    assert "CODE 3, DEPLOY 2; 2 organizations hit" in page
    assert "KeyError: &#x27;palette&#x27; (3)." in page


def test_without_failures_the_first_page_has_no_red_row(operator: Client):
    fail_tasks(1, at=timezone.now() - 5 * HOUR)

    assert "psq-alert" not in rows_of(operator, DASHBOARD)


def test_a_failed_task_leads_to_its_group(operator: Client):
    made = fail_tasks(2)

    page = rows_of(operator, f"{TASKS}{made.tasks[0].pk}/change/")

    assert f"{PAGE}{made.group.pk}/change/?last=24h" in page
    assert "(2 so far)" in page


def test_tasks_are_listed_by_code(operator: Client):
    made = fail_tasks(1, code="TIMEOUT")
    other = fail_tasks(1, code="MINE", message="'x'")
    make_task(state=State.FAILED)

    page = rows_of(operator, f"{TASKS}?state__exact=failed&type__exact=CODE&error_code=MINE")

    assert str(other.tasks[0].pk) in page
    assert str(made.tasks[0].pk) not in page
    assert "?error_code=TIMEOUT" in rows_of(operator, TASKS)
    everywhere = rows_of(operator, f"{TASKS}?error_code=NONE")
    assert str(made.tasks[0].pk) not in everywhere


def test_minutes_of_a_group_go_with_it():
    made = fail_tasks(2)

    made.group.delete()

    assert not FailureMinute.objects.exists()
