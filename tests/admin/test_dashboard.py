"""The live dashboard: true figures, few queries, steering with a reason."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import queue_state, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.dashboards import failure_groups, queues
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueMinute, QueueSettings
from tests.admin.test_records import rows_of
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db

DASHBOARD = "/admin/plugspace_queue/dashboard/"
LIVE = f"{DASHBOARD}live/"


def submit(organization_id: str, tier: str, number: int = 1) -> None:
    make_organization(organization_id, tier=tier)
    for _ in range(number):
        queue_manager.add_task(**arguments(type="CODE", organization_id=organization_id))


@pytest.mark.django_db(transaction=True)
def test_a_card_says_what_waits_by_priority_what_runs_and_who_waits_longest():
    submit("big", "enterprise", 3)
    submit("small", "starter", 2)
    configure = queue_manager.set_queue("CODE", {"limiter_max": 10})
    assert configure.limiter_max == 10
    grant = scripts.run(
        client("code"), [task_store.acquire("code", worker="w1", want=1, lease_ms=10_000)]
    )[0]

    card = queues.board().card(TaskType.CODE)

    assert grant.leases[0].organization_id == "big"
    assert card.gauge is not None
    assert (card.gauge.waiting, card.gauge.active, card.gauge.starts) == (4, 1, 1)
    assert [count for _, count in card.bands] == [2, 0, 2, 0]
    assert card.gauge.left_out == 0
    assert [(row.tier, row.organization_id) for row in card.oldest] == [
        ("enterprise", "big"),
        ("starter", "small"),
    ]
    assert card.note == "No worker is running: start manage.py rqworker code."


@pytest.mark.django_db(transaction=True)
def test_lanes_beyond_the_bound_are_counted_as_not_looked_at():
    for number in range(3):
        submit(f"org-{number}", "free")
    from_all, from_two = (
        scripts.run(client("code"), [queue_state.gauge("code", most)])[0] for most in (3, 2)
    )

    assert (from_all.left_out, sum(from_all.bands)) == (0, 3)
    assert (from_two.left_out, sum(from_two.bands), from_two.waiting) == (1, 2, 3)


@pytest.mark.django_db(transaction=True)
def test_the_dashboard_costs_the_same_however_much_waits(root: Client):
    costs = []
    for number in range(2):
        for place in range(4):
            submit(f"org-{number}-{place}", "free")
        queues.clear_cache()
        failure_groups.clear_cache()
        with CaptureQueriesContext(connection) as asked:
            rows_of(root, LIVE)
        costs.append(len(asked))
        assert not [q["sql"] for q in asked if "COUNT(" in q["sql"]]
        assert not [q["sql"] for q in asked if '"plugspace_queue_task"' in q["sql"]]

    assert costs[0] == costs[1] <= 6


def test_many_who_look_at_once_cost_one_read(root: Client):
    rows_of(root, LIVE)
    with CaptureQueriesContext(connection) as asked:
        rows_of(root, LIVE)

    assert not [q for q in asked if "queuesettings" in q["sql"]]


def test_the_dashboard_is_in_the_list_of_the_admin_for_viewers_only(
    signed_in: Callable[[str], Client],
):
    assert f'href="{DASHBOARD}"' in rows_of(signed_in("viewer"), "/admin/")
    clerk = signed_in("")
    assert DASHBOARD not in rows_of(clerk, "/admin/")
    for address in ("", "live/", "series/", "CODE/"):
        assert clerk.get(f"{DASHBOARD}{address}").status_code == 403


def test_the_part_that_changes_is_marked_and_never_kept(root: Client):
    response = root.get(LIVE)

    assert response.headers["X-Psq-Fragment"] == "1"
    assert "no-store" in response.headers["Cache-Control"]
    assert "<html" not in response.content.decode()


def test_without_redis_the_dashboard_says_so_and_still_opens(root: Client, cut_off: None):
    page = rows_of(root, DASHBOARD)

    assert "Redis does not answer" in page
    assert "the other figures are unknown" in page


def press(client: Client, order: str, /, **told: object) -> int:
    return client.post(f"{DASHBOARD}CODE/{order}/", told).status_code


def confirm(client: Client, **told: object) -> int:
    """Set limits: the difference is shown first."""
    shown = client.post(f"{DASHBOARD}CODE/limits/", told).context["limits"]
    return client.post(f"{DASHBOARD}CODE/limits/", dict(shown.hidden())).status_code


def code() -> QueueSettings:
    return QueueSettings.objects.get(pk="CODE")


def test_an_operator_pauses_and_resumes_with_a_reason_that_is_written_down(operator: Client):
    assert press(operator, "pause", verb="pause", reason="the model is down") == 302
    assert code().is_paused
    page = rows_of(operator, f"{DASHBOARD}code/")
    assert "CODE: paused: the model is down." in page
    assert "Resume CODE" in page

    assert press(operator, "pause", verb="resume", reason="it is back") == 302
    assert not code().is_paused
    said = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert list(said) == [
        ("CODE", "Paused: the model is down"),
        ("CODE", "Resumed: it is back"),
    ]


def test_limits_are_set_live_and_the_audit_has_before_and_after(operator: Client):
    told = {"limiter_max": 20, "limiter_duration": 30, "concurrency": 4, "reason": "launch"}
    assert confirm(operator, **told) == 302
    assert confirm(operator, **{**told, "concurrency": "", "reason": "over"}) == 302

    row = code()
    assert (row.limiter_max, row.limiter_duration, row.concurrency) == (20, 30.0, None)
    first, second = LogEntry.objects.order_by("pk")
    assert first.change_message == (
        "Limits: starts default → 20, window default → 30, slots per worker default → 4: launch"
    )
    assert second.change_message == "Limits: slots per worker 4 → default: over"


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("pause", {"verb": "pause"}),
        ("pause", {"verb": "empty", "reason": "x"}),
        ("limits", {"limiter_max": 5}),
        ("limits", {"limiter_max": 0, "reason": "x"}),
        ("limits", {"limiter_duration": "inf", "reason": "x"}),
        ("limits", {"limiter_max": 10**12, "reason": "x"}),
    ],
)
def test_what_is_no_proper_order_changes_nothing(operator: Client, verb: str, told: dict):
    before = QueueSettings.objects.filter(pk="CODE").values().first()

    assert press(operator, verb, **told) == 200
    assert QueueSettings.objects.filter(pk="CODE").values().first() == before
    assert not LogEntry.objects.exists()


def test_a_viewer_changes_nothing_by_address_or_post(signed_in: Callable[[str], Client]):
    viewer = signed_in("viewer")

    assert "Pause CODE" not in rows_of(viewer, f"{DASHBOARD}code/")
    for method in (viewer.get, viewer.post):
        for verb in ("pause", "limits"):
            told = {"verb": "pause", "limiter_max": 1, "reason": "x"}
            assert method(f"{DASHBOARD}code/{verb}/", told).status_code == 403
    assert not code().is_paused


def test_steering_wants_the_token_of_a_form(operator: Client):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    assert press(strict, "pause", verb="pause", reason="x") == 403
    assert not code().is_paused


def test_an_address_of_no_queue_is_not_there(operator: Client):
    assert operator.get(f"{DASHBOARD}nothing/").status_code == 404
    assert operator.get(f"{DASHBOARD}code/pause/").status_code == 405


def test_the_charts_have_the_last_hour_with_gaps_where_nobody_wrote(root: Client):
    now = timezone.now().replace(second=0, microsecond=0)
    for back, completed in ((3, 100), (2, 130), (0, 150)):
        QueueMinute.objects.create(
            type="CODE",
            minute=now - timedelta(minutes=back),
            completed=completed,
            failed=0,
            wait_median=500,
            wait_most=1500,
        )

    told = root.get(f"{DASHBOARD}series/").json()
    line = next(queue for queue in told["queues"] if queue["type"] == "CODE")

    assert len(told["minutes"]) == len(line["completed"]) == 60
    assert line["completed"][-3:] == [30.0, None, None]
    assert line["waitMost"][-3:] == [1.5, None, 1.5]
