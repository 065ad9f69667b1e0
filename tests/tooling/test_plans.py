"""Lists and pages read what they show by an index, in as many statements however much there is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.host import filling, timing
from benchmarks.host.places import API, Place, places
from plugspace_queue.models import Task

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.django_db,
]

TASKS = 30_000
MOST_STATEMENTS = {API: 7, 200: 16}
# These look through or skip more rows than one organization has here: a sort of all is no worse.
WALKS = ("q=user:", "priority=", "offset=10000")
LARGE = {
    f"plugspace_queue_{name}"
    for name in ("task", "workflow", "attempt", "usageentry", "dependency", "idempotencykey")
}


@pytest.fixture
def filled(db: None) -> Iterator[None]:
    """A database as the large benchmark has it, with fewer rows."""
    timing.client_of.cache_clear()
    filling.fill(TASKS)
    yield
    timing.client_of.cache_clear()


def asked(place: Place) -> list[str]:
    """The statements of one look, the second one: the first fills what is kept for a second."""
    client = timing.client_of(place.asks)
    client.get(place.address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(place.address).status_code == 200, place.address
    return [query["sql"] for query in queries if query["sql"].startswith("SELECT")]


def scans(sql: str) -> list[str]:
    """The large tables that a statement reads from end to end."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        (told,) = cursor.fetchone()
    plan = told if isinstance(told, list) else json.loads(told)
    return [node["Relation Name"] for node in nodes(plan[0]["Plan"]) if is_scan(node)]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def is_scan(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE


def test_no_list_and_no_page_reads_a_large_table_from_end_to_end(filled: None):
    assert Task.objects.count() == TASKS
    told = []
    for place in places():
        statements = asked(place)
        if len(statements) > MOST_STATEMENTS[place.limit]:
            told.append(f"{place.address}: {len(statements)} statements")
        if any(words in place.address for words in WALKS):
            continue
        told += [f"{place.address}: {s}: {sql[:300]}" for sql in statements for s in scans(sql)]

    assert not told, "\n".join(told)
