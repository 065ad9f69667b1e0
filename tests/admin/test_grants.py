"""Organizations by their share of a quota, what is granted to one, and another tier for it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.models import MonthlyUsage, Organization, Override, Task, TierPolicy
from tests.admin.test_records import rows_of
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db

LIST = "/admin/plugspace_queue/organization/"
SHARES = f"{LIST}shares/"
ACME = f"{LIST}acme/change/"


@pytest.fixture(autouse=True)
def quotas(db: None) -> None:
    """Ten of CODE and of DESIGN per month in the tier starter."""
    TierPolicy.objects.filter(pk="starter").update(quotas={"CODE": 10, "DESIGN": 10})


def use(organization_id: str, count: int, task_type: str = "CODE", **fields: object) -> None:
    row = make_organization(organization_id, tier="starter", **fields)
    month = month_of(timezone.now())
    MonthlyUsage.objects.create(organization=row, type=task_type, month=month, used=count)


def shown(page: str) -> list[tuple[str, str]]:
    """Organization and share, in the order of the page."""
    found = re.findall(
        r'organization/([\w-]+)/change/\?grant=\w+#grant".*?</meter> (\d+) %', page, re.S
    )
    return [(name, percent) for name, percent in found]


def test_organizations_are_sorted_by_their_share(root: Client):
    use("acme", 5)
    use("bluebird", 9)
    use("kite", 7, "DESIGN")
    make_organization("idle", tier="starter")

    page = rows_of(root, SHARES)

    assert shown(page) == [("bluebird", "90"), ("kite", "70"), ("acme", "50")]
    assert "9 of 10" in page


def test_shares_count_grants_and_quotas_in_the_place_of_the_tiers(root: Client):
    use("acme", 10)
    use("bluebird", 10)
    use("kite", 10)
    queue_manager.grant("acme", "CODE", 10, reason="x")
    queue_manager.grant("acme", "CODE", 20, reason="x")
    queue_manager.grant("acme", "DESIGN", 500, reason="x")
    queue_manager.override_quota("bluebird", "CODE", -1, reason="x")
    ended = queue_manager.grant("kite", "CODE", 90, reason="x")
    queue_manager.end_override(ended.pk)

    assert shown(rows_of(root, SHARES)) == [("kite", "100"), ("acme", "25")]


def test_shares_are_filtered_by_type_tier_and_percent(root: Client):
    use("acme", 5)
    use("bluebird", 9)
    use("kite", 8, "DESIGN")

    assert shown(rows_of(root, f"{SHARES}?type=DESIGN")) == [("kite", "80")]
    assert shown(rows_of(root, f"{SHARES}?least=80")) == [("bluebird", "90"), ("kite", "80")]
    assert shown(rows_of(root, f"{SHARES}?tier=enterprise")) == []
    assert shown(rows_of(root, f"{SHARES}?tier=-")) == []
    assert len(shown(rows_of(root, f"{SHARES}?tier=starter"))) == 3


@pytest.mark.parametrize("query", ["type=NOTHING", "least=7", "tier=gold", "type=%00"])
def test_a_filter_of_shares_that_is_not_valid_is_an_error(root: Client, query: str):
    use("acme", 5)

    page = rows_of(root, f"{SHARES}?{query}")

    assert "This filter is not valid." in page
    assert shown(page) == []


def test_months_that_are_past_do_not_count(root: Client):
    row = make_organization("acme", tier="starter")
    MonthlyUsage.objects.create(organization=row, type="CODE", month="2020-01", used=9)

    assert "No organization with a quota used any of it this month." in rows_of(root, SHARES)


def test_an_organization_without_a_tier_has_the_quotas_of_free(root: Client):
    TierPolicy.objects.filter(pk="free").update(quotas={"CODE": 4})
    use("acme", 3)
    Organization.objects.update(tier=None)

    assert shown(rows_of(root, f"{SHARES}?tier=-")) == [("acme", "75")]


def test_the_shares_cost_the_same_queries_whatever_there_is(root: Client):
    costs = []
    for number in range(2):
        for place in range(4):
            use(f"org-{number}-{place}", 3)
        with CaptureQueriesContext(connection) as queries:
            rows_of(root, SHARES)
        costs.append(len(queries))
        assert not [q["sql"] for q in queries if "COUNT(" in q["sql"]]

    assert costs[0] == costs[1]


def grant(client: Client, **given: object) -> str:
    body = {"type": "CODE", "amount": 50, "until": "", "reason": "launch", **given}
    return client.post(f"{LIST}acme/grant/", body, follow=True).content.decode()


def test_fifty_more_until_the_end_of_the_month(root: Client):
    use("acme", 10)
    page = rows_of(root, f"{ACME}?grant=CODE")
    assert '<option value="CODE" selected>' in page
    end = re.search(r'name="until" value="([^"]+)"', page)
    assert end is not None

    said = grant(root, until=end[1])

    row = Override.objects.get()
    assert (row.key, row.value, row.reason, row.author) == ("grant", 50, "launch", "admin")
    assert row.ends_at == end_of_month(month_of(timezone.now()))
    assert "10 of 60" in said
    assert "(50 granted)" in said
    assert "CODE 50 more per month" in said
    assert "quota 10 → 60" in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    "given",
    [
        {"amount": 0},
        {"amount": "many"},
        {"amount": 10**12},
        {"reason": ""},
        {"type": "NOTHING"},
        {"until": "2020-01-01T10:00"},
        {"until": "soon"},
    ],
)
def test_a_grant_that_makes_no_sense_grants_nothing(root: Client, given: dict[str, object]):
    make_organization("acme", tier="starter")

    grant(root, **given)

    assert not Override.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_grant_is_ended_for_a_reason_on_the_page_of_its_organization_only(root: Client):
    make_organization("acme", tier="starter")
    make_organization("bluebird", tier="starter")
    row = queue_manager.grant("acme", "CODE", 5, reason="launch")
    told = {"reason": "it is over"}

    assert root.post(f"{LIST}bluebird/grants/{row.pk}/end/", told).status_code == 404
    assert root.post(f"{LIST}acme/grants/{row.pk}/end/", told).status_code == 302

    row.refresh_from_db()
    assert row.is_over(timezone.now())
    assert "1 that is over" in rows_of(root, ACME)
    assert "quota 15 → 10" in LogEntry.objects.get().change_message


def test_an_operator_sees_the_buttons_disabled_with_the_reason(operator: Client):
    make_organization("acme", tier="starter")

    page = rows_of(operator, ACME)

    assert re.search(r'<button[^>]* disabled aria-describedby="psq-grant-why">Grant<', page)
    assert "Grants need the permission to administer the queue." in page
    assert re.search(r'<button[^>]* disabled aria-describedby="psq-tier-why">', page)
    for verb in ("grant", "tier"):
        assert operator.post(f"{LIST}acme/{verb}/", {"reason": "x"}).status_code == 403


def change_tier(client: Client, **given: object) -> str:
    response = client.post(f"{LIST}acme/tier/", {"reason": "signed", **given}, follow=True)
    return response.content.decode()


def test_a_tier_is_changed_after_its_effect_was_shown(root: Client):
    make_organization("acme", tier="free")
    for number in range(3):
        queue_manager.add_task(**arguments(project_id=f"p{number}"))
    queue_manager.add_task(**arguments(priority=3, type="EXPORT"))

    page = change_tier(root, tier="enterprise")

    assert Organization.objects.get().tier_id == "free"
    assert "Move its 4 waiting tasks too" in page
    said = change_tier(root, tier="enterprise", confirmed="1", move_waiting="on")
    assert Organization.objects.get().tier_id == "enterprise"
    assert "4 waiting tasks were moved" in said
    assert set(Task.objects.values_list("priority", flat=True)) == {0}
    assert LogEntry.objects.get().change_message == (
        "Tier free → enterprise; 4 waiting tasks moved: signed"
    )


def test_waiting_tasks_stay_unless_that_is_chosen(root: Client):
    make_organization("acme", tier="free")
    queue_manager.add_task(**arguments())

    change_tier(root, tier="enterprise", confirmed="1")

    assert Task.objects.get().priority == 3
    assert LogEntry.objects.get().change_message == "Tier free → enterprise: signed"


@pytest.mark.parametrize("given", [{"tier": "gold"}, {"tier": "enterprise", "reason": ""}])
def test_a_change_of_the_tier_that_makes_no_sense_changes_nothing(
    root: Client, given: dict[str, str]
):
    make_organization("acme", tier="free")

    change_tier(root, confirmed="1", **given)

    assert Organization.objects.get().tier_id == "free"
    assert not LogEntry.objects.exists()


def test_a_tier_is_removed_and_the_same_tier_is_no_change(root: Client):
    make_organization("acme", tier="free")

    assert "is this one already" in change_tier(root, tier="free", confirmed="1")
    change_tier(root, tier="", confirmed="1")

    assert Organization.objects.get().tier_id is None
    assert LogEntry.objects.get().change_message == "Tier free → none: signed"


def test_the_plain_form_of_an_organization_does_not_change_its_tier(root: Client):
    make_organization("acme", tier="free")
    body = {"name": "Acme", "tier": "enterprise", "memberships-TOTAL_FORMS": 0}

    root.post(ACME, {**body, "memberships-INITIAL_FORMS": 0})

    row = Organization.objects.get()
    assert (row.name, row.tier_id) == ("Acme", "free")


def test_pages_of_an_organization_that_is_gone_are_not_there(root: Client):
    for verb in ("grant", "tier"):
        assert root.post(f"{LIST}nobody/{verb}/", {"reason": "x"}).status_code == 404


def test_a_viewer_reads_shares_and_grants(signed_in: Callable[[str], Client]):
    use("acme", 5)
    queue_manager.grant(
        "acme", "CODE", 5, until=timezone.now() + timedelta(days=1), reason="launch"
    )
    viewer = signed_in("viewer")

    assert shown(rows_of(viewer, SHARES)) == [("acme", "33")]
    assert "CODE 5 more per month" in rows_of(viewer, ACME)
