"""What the queues hold by tier, without a look at the rows."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys, lanes, routing, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task
from plugspace_queue.services import queue_depths
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


def held(kind: str = "ARCHITECT") -> dict[tuple[str, str], int]:
    """What there is of a type, by state and tier."""
    return {(r.state, r.tier): r.tasks for r in queue_depths.held() if r.type == kind and r.tasks}


def submit(organization_id: str, number: int = 1, **told: Any) -> None:
    queue_manager.add_tasks([arguments(organization_id=organization_id, **told)] * number)


def test_what_waits_runs_and_is_delayed_is_told_by_the_tier_of_the_organization(redis: Any):
    make_organization("large")
    make_organization("small", tier="free")
    make_organization("new", tier=None)
    submit("large", 3)
    # In a lower band than its tier's: the tier is told all the same.
    submit("large", priority=3)
    submit("small", 2)
    submit("new")
    submit("small", run_at=timezone.now() + timedelta(hours=1))
    routing.ask(task_store.configure("architect", **GATES), "architect")
    routing.ask(task_store.acquire("architect", worker="w", want=1, lease_ms=10_000), "architect")

    assert held() == {
        ("waiting", "enterprise"): 3,
        ("waiting", "free"): 2,
        ("waiting", "(none)"): 1,
        ("delayed", "free"): 1,
        ("running", "enterprise"): 1,
    }
    assert held("CODE") == {}


GATES: dict[str, Any] = {
    "paused": False,
    "concurrency": 0,
    "limiter_max": 0,
    "limiter_ms": 0,
    "organization_cap": 0,
    "weighted": False,
    "version": 1,
}


def test_a_paused_organization_still_waits(redis: Any):
    make_organization()
    submit("acme", 2)
    queue_manager.pause(organization_id="acme")
    assert redis.zcard(keys.parked("architect")) == 1

    assert held() == {("waiting", "enterprise"): 2}


def test_lines_beyond_those_told_apart_are_the_others_and_none_is_lost(
    redis: Any, monkeypatch: pytest.MonkeyPatch
):
    later = timezone.now() + timedelta(hours=1)
    for number in range(6):
        make_organization(f"org-{number}")
        submit(f"org-{number}", 2)
        submit(f"org-{number}", run_at=later)
    lines = lanes.lines_of(client("architect"), ["architect"], most=4)
    line = lines["architect"]

    assert (len(line.waiting.of), line.waiting.of.total(), line.waiting.total) == (4, 8, 12)
    assert (line.delayed.of.total(), line.delayed.total) == (4, 6)
    monkeypatch.setattr(lanes, "lines_of", lambda *told: lines)
    assert held()["waiting", "(others)"] == 4
    assert held()["delayed", "(others)"] == 2


def test_every_series_is_there_from_the_beginning_so_that_graphs_have_zeros():
    rows = queue_depths.held()

    assert {row.tier for row in rows} == {
        "free", "starter", "professional", "enterprise", "(none)", "(others)"
    }  # fmt: skip
    assert len(rows) == len({row[:3] for row in rows}) == len(TaskType) * 3 * 6


def test_what_somebody_else_put_there_breaks_nothing(redis: Any):
    redis.zadd(keys.parked("architect"), {"not a lane": 1})
    redis.zadd("rq:scheduled:architect", {"stranger": 1})
    redis.hset(keys.running("architect"), "nobody", 2)
    redis.rpush(keys.active("architect"), "one", "two")
    redis.set("rq:job:stranger", "no hash")

    assert held() == {("delayed", "(others)"): 1, ("running", "(others)"): 2}


def test_no_row_of_a_task_is_read(redis: Any, django_assert_num_queries: Any):
    make_organization()
    submit("acme", 2)

    with django_assert_num_queries(1) as asked:
        assert held() == {("waiting", "enterprise"): 2}
    assert not any(Task._meta.db_table in query["sql"] for query in asked.captured_queries)


def test_without_redis_there_are_no_figures(redis_away: Any):
    redis_away()

    with pytest.raises(errors.Unavailable):
        queue_depths.held()
