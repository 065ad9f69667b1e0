"""Lists and pages read what they show by an index, in as many statements however much there is."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.host import filling, timing
from benchmarks.host.places import API, BIG, Place, places
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance.expiry import BATCH
from plugspace_queue.models import Attempt, Dependency, Task, task_queries, tenancy_queries

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


MIDDLE = "org-7"
"""An organization with a fiftieth of all tasks: too few to be met among the newest of all."""


@pytest.fixture
def spread(filled: None) -> None:
    users = [f"user-{n}" for n in range(6)]
    task_queries.tasks_matching(user_id__in=users).update(organization=MIDDLE)
    failed = task_queries.tasks_matching(state=State.FAILED)
    failed.update(error_code="VALIDATION_ERROR")
    failed.filter(user_id=users[0]).update(error_code="TIMEOUT")
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {Task._meta.db_table}")


def newest_task() -> Task:
    return task_queries.tasks_matching(workflow__isnull=False).newest_first()[0]


def some_of(organization_id: str) -> QuerySet[Task]:
    return task_queries.tasks_of_organization(organization_id).newest_first()


# Each index of the table of tasks is paid at every change of a task that it holds. It stays for
# these queries, and one that no query here needs goes.
NEEDED: dict[str, list[Callable[[], QuerySet[Any, Any]]]] = {
    "plugspace_queue_task_pkey": [
        lambda: task_queries.task_by_id(newest_task().pk),
        lambda: task_queries.tasks_matching().newest_first()[:100],
    ],
    # Lists of one organization, the newest first.
    "psq_task_org": [lambda: some_of(MIDDLE)[:21]],
    "psq_task_org_state": [
        lambda: some_of(BIG).in_state(State.EXPIRED)[:21],
        lambda: some_of(MIDDLE).in_state(State.FAILED)[:21],
    ],
    # A project's tasks: `?projectId=` and the search of the admin.
    "psq_task_project": [
        lambda: task_queries.tasks_matching(project_id="project-77").newest_first()[:21]
    ],
    # The relay and the reconciler walk rows by state and type; lists of failed ones by type.
    "psq_task_not_complete": [
        lambda: task_queries.rows_of_range(State.PROCESSING, TaskType.CODE, None)[:1000],
        lambda: task_queries.tasks_matching(type="CODE").in_state(State.FAILED).newest_first()[:21],
    ],
    # The oldest of the open ones lie behind all that ended.
    "psq_task_open": [
        lambda: task_queries.tasks_matching().with_status(Status.PENDING).oldest_first()[:21]
    ],
    # Failed tasks of one type and code: lists, and retries of what failed for one reason.
    "psq_task_failed": [
        lambda: (
            task_queries.tasks_matching(type="CODE", error_code="TIMEOUT")
            .in_state(State.FAILED)
            .newest_first()[:21]
        )
    ],
    "psq_task_deadline": [
        lambda: task_queries.expired(
            timezone.now() - timedelta(days=1), tenancy_queries.paused_types()
        ).startable()[:BATCH]
    ],
    "psq_task_cancelling": [lambda: task_queries.cancel_requested().startable()[:BATCH]],
    # Pruning, and the samples of each minute.
    "psq_task_ended": [
        lambda: task_queries.prunable_tasks(State.COMPLETE, timezone.now() - timedelta(days=29)),
        lambda: task_queries.ended_within(
            State.COMPLETE, timezone.now() - timedelta(minutes=1), timezone.now()
        )[:500],
    ],
    "psq_task_workflow": [
        lambda: task_queries.steps_of_one(newest_task().workflow_id),
        lambda: task_queries.steps_of([newest_task().workflow_id]),
    ],
}

# By the unique constraints that begin with these columns.
FOREIGN_KEYS: dict[str, Callable[[], QuerySet[Any, Any]]] = {
    "psq_attempt_once": lambda: Attempt.objects.filter(task=newest_task()),
    "psq_dependency_once": lambda: Dependency.objects.filter(parent=newest_task()),
}


def indexes_used(rows: QuerySet[Any, Any]) -> set[str]:
    plan = json.loads(rows.explain(format="json"))
    return {node["Index Name"] for node in nodes(plan[0]["Plan"]) if "Index Name" in node}


def test_each_index_of_tasks_is_used_by_a_query_that_needs_it(spread: None):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = %s", [Task._meta.db_table]
        )
        there = {name for (name,) in cursor.fetchall()}
    assert there == set(NEEDED)

    unused = [
        f"{name}: {index} of {len(queries)}, used {indexes_used(query())}"
        for name, queries in NEEDED.items()
        for index, query in enumerate(queries, 1)
        if name not in indexes_used(query())
    ]
    assert not unused, "\n".join(unused)


def test_what_hangs_on_a_task_is_found_by_the_unique_constraint(spread: None):
    for name, query in FOREIGN_KEYS.items():
        assert name in indexes_used(query())
