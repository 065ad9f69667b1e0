"""Who holds the slots and who waits: by tier, by organization, of all queues or of one."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from plugspace_queue.dashboards import slot_shares
from plugspace_queue.domain.enums import State
from tests.admin.test_records import rows_of
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

DASHBOARD = "/admin/plugspace_queue/dashboard/"
PAGE = f"{DASHBOARD}slots/"


def tasks(count: int, organization: str, tier: str, state: State, task_type: str = "CODE") -> None:
    row = make_organization(organization, tier=tier)
    for _ in range(count):
        make_task(type=task_type, organization=row, tier=tier, state=state)


def rows(page: str, key: str) -> dict[str, tuple[str, str]]:
    """Running and waiting by name, of one of the tables."""
    table = page[page.index(f'id="psq-by-{key}"') :]
    table = table[: table.index("</table>")]
    found = {}
    for line in re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", table, re.S):
        name = re.sub(r"<[^>]+>", " ", line.partition("</th>")[0]).split()
        counts = re.findall(r"(?:</svg>|<td>) ?(\d+)", line.partition("</th>")[2])
        found[" ".join(name)] = (counts[0], counts[1])
    return found


def test_the_page_says_who_runs_and_who_waits(root: Client):
    tasks(9, "northwind", "enterprise", State.PROCESSING)
    tasks(1, "kite", "free", State.PROCESSING)
    tasks(30, "kite", "free", State.WAITING)
    tasks(2, "ada", "free", State.RETRYING, "EXPORT")

    page = rows_of(root, PAGE)

    assert "<strong>10 tasks run</strong>" in page
    assert "32 wait." in page
    assert rows(page, "tier") == {"enterprise": ("9", "0"), "free few slots": ("1", "32")}
    assert rows(page, "organization") == {
        "northwind enterprise": ("9", "0"),
        "kite free few slots": ("1", "30"),
        "ada free few slots": ("0", "2"),
    }


def test_one_queue_is_shown_alone(root: Client):
    tasks(1, "northwind", "enterprise", State.PROCESSING)
    tasks(2, "ada", "free", State.WAITING, "EXPORT")

    page = rows_of(root, f"{PAGE}?type=EXPORT")

    assert rows(page, "organization") == {"ada free few slots": ("0", "2")}
    assert f"{PAGE}live/?type=EXPORT" in page
    assert root.get(f"{PAGE}?type=NOTHING").status_code == 404


def test_further_organizations_are_one_row(root: Client):
    for number in range(12):
        tasks(1, f"org-{number:02}", "free", State.WAITING)

    page = rows_of(root, PAGE)

    assert len(rows(page, "organization")) == 11
    assert rows(page, "organization")["2 others"] == ("0", "2")


def test_the_share_of_all_others_is_not_a_sum_of_rounded_shares():
    for number in range(240):
        tasks(1, f"org-{number:03}", "free", State.WAITING)
    slot_shares.clear_cache()

    others = slot_shares.slots_view(None).others

    # Each of the 230 has less than half a percent.
    assert others is not None
    assert (others.waiting, others.waiting_percent) == (230, 96)


def test_waiting_tasks_are_counted_up_to_a_bound(root: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slot_shares, "MOST_WAITING", 3)
    tasks(5, "kite", "free", State.WAITING)

    assert "more than 3 wait" in rows_of(root, PAGE)


def test_the_dashboard_leads_there(root: Client):
    assert f'href="{PAGE}"' in rows_of(root, DASHBOARD)
    assert "No task runs or waits here." in rows_of(root, PAGE)


def test_the_page_costs_the_same_however_many_wait(root: Client):
    costs = []
    # The first read of a process also reads queues.
    rows_of(root, f"{PAGE}live/")
    for number in range(2):
        tasks(4, f"org-{number}", "free", State.WAITING)
        slot_shares.clear_cache()
        with CaptureQueriesContext(connection) as queries:
            rows_of(root, f"{PAGE}live/")
        costs.append(len(queries))

    assert costs[0] == costs[1]


def test_the_page_opens_without_redis(root: Client, cut_off: None):
    tasks(2, "kite", "free", State.WAITING)

    assert rows(rows_of(root, PAGE), "tier") == {"free few slots": ("0", "2")}
