"""What a worker counts of the tasks it runs, as `/metrics` shows it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from plugspace_queue import conf, errors, metrics, queue_manager
from plugspace_queue.api import prometheus as pages
from plugspace_queue.domain.enums import EventName
from plugspace_queue.events import listeners
from plugspace_queue.services import queue_stats
from tests.support import wait_until
from tests.worker.conftest import Register, submit

pytestmark = pytest.mark.usefixtures("acme")

TOKEN = "scraper"


@pytest.fixture(autouse=True)
def from_nothing(settings: Any) -> Iterator[None]:
    settings.PLUGSPACE_QUEUE = {"METRICS_TOKEN": TOKEN, "BACKOFF_DELAY": 0.05}
    metrics.discard_unsent()
    yield
    metrics.discard_unsent()


def page() -> str:
    """The page as a scraper gets it."""
    pages.clear_cache()
    queue_stats.clear_cache()
    told = Client(headers={"Authorization": f"Bearer {TOKEN}"}).get("/metrics")
    assert told.status_code == 200, told.content
    return told.content.decode()


def shown() -> dict[str, float]:
    """Every sample of the page by its name with labels."""
    lines = [line for line in page().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_attempts_and_ends_are_counted_once_with_waits_and_runs(
    processors: Register, crew: Callable[..., Any]
):
    def flaky(context: Any) -> None:
        if context.attempt == 1:
            raise errors.ExternalServiceError("once")

    processors("ARCHITECT", flaky)
    for _ in range(3):
        submit()
    queue_manager.cancel(submit().pk)
    crew("architect")
    done = metrics.field(metrics.ATTEMPTS, "ARCHITECT", "complete")
    wait_until(lambda: metrics.read().get(done) == 3, 15)

    told = shown()

    of_type = 'type="ARCHITECT"'
    assert told[f'plugspace_tasks_added_total{{priority="0",{of_type}}}'] == 4
    assert told[f'plugspace_attempts_total{{outcome="retry",{of_type}}}'] == 3
    assert told[f'plugspace_attempts_total{{outcome="complete",{of_type}}}'] == 3
    assert told[f'plugspace_tasks_ended_total{{priority="0",state="complete",{of_type}}}'] == 3
    assert told[f'plugspace_tasks_ended_total{{priority="0",state="cancelled",{of_type}}}'] == 1
    assert told[f"plugspace_run_seconds_count{{{of_type}}}"] == 6
    assert told[f"plugspace_wait_seconds_count{{{of_type}}}"] == 3
    assert told[f"plugspace_wait_seconds_sum{{{of_type}}}"] > 0


def test_buckets_of_a_histogram_are_cumulative(acme: Any):
    counts: metrics.Counts = Counter()
    for seconds in (0.004, 0.2, 0.2, 3000.0):
        metrics.observe_all(counts, metrics.RUN, [seconds], "CODE")
    metrics.add(counts)

    told = shown()

    def bucket(bound: str) -> float:
        return told[f'plugspace_run_seconds_bucket{{le="{bound}",type="CODE"}}']

    assert [bucket(bound) for bound in ("0.005", "0.1", "0.25", "1800", "+Inf")] == [1, 1, 3, 3, 4]
    assert told['plugspace_run_seconds_sum{type="CODE"}'] == pytest.approx(3000.404)


def test_the_parser_of_prometheus_reads_the_page_and_knows_every_metric(acme: Any):
    for metric in metrics.SHARED:
        if metric.is_histogram:
            counts: metrics.Counts = Counter()
            metrics.observe_all(counts, metric, [0.2], *metric.labels)
            metrics.add(counts)
        else:
            metrics.count(metric, *metric.labels)

    families = {f.name: f for f in text_string_to_metric_families(page())}

    assert {"plugspace_redis_up", "plugspace_workers", "plugspace_tasks"} <= set(families)
    for metric in metrics.SHARED:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == ("histogram" if metric.is_histogram else "counter")
        assert family.documentation == metric.help
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_what_runs_and_waits_is_told_by_queue(
    processors: Register, crew: Callable[..., Any], acme: Any
):
    go_on = threading.Event()
    processors("ARCHITECT", lambda context: go_on.wait(20), concurrency=1)
    for _ in range(3):
        submit()
    crew("architect")

    def states() -> list[float]:
        told, of_type = shown(), 'type="ARCHITECT"'
        tier = 'tier="enterprise"'
        names = [f'plugspace_tasks{{state="{s}",{tier},{of_type}}}' for s in ("running", "waiting")]
        return [told[name] for name in names]

    try:
        wait_until(lambda: states() == [1, 2], 10)
    finally:
        go_on.set()


def test_refusals_are_counted_by_their_code(acme: Any):
    queue_manager.set_organization("acme", tier="free")
    submit("DEPLOY")
    for refused in (errors.QuotaExceeded, errors.ValidationRefused):
        with pytest.raises(refused):
            submit("DEPLOY", **({} if refused is errors.QuotaExceeded else {"input": {"no": 1}}))

    told = shown()

    assert told['plugspace_refusals_total{code="QUOTA_EXCEEDED"}'] == 1
    assert told['plugspace_refusals_total{code="VALIDATION_ERROR"}'] == 1


def test_a_listener_that_raises_is_counted(acme: Any):
    def fail(event: dict[str, Any]) -> None:
        raise ZeroDivisionError

    reader = listeners.on(EventName.ADDED, fail)
    submit()
    wait_until(lambda: reader.errors)
    queue_manager.close()

    assert shown()["plugspace_listener_errors_total"] == 1


def test_a_running_worker_adds_its_counts_within_seconds(
    processors: Register, crew: Callable[..., Any], redis: Any
):
    processors("ARCHITECT", lambda context: None)
    submit()
    crew("architect")

    field = metrics.field(metrics.ATTEMPTS, "ARCHITECT", "complete")
    wait_until(lambda: redis.hget("plugspace:metrics", field) == b"1", 10)


def test_without_redis_the_page_says_so_and_nothing_counted_is_lost(acme: Any, settings: Any):
    metrics.count(metrics.REAPED, "CODE", by=2)
    at_home = settings.RQ_QUEUES
    settings.RQ_QUEUES, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")

    assert shown() == {"plugspace_redis_up": 0}
    settings.RQ_QUEUES = at_home
    assert shown()['plugspace_reaped_total{type="CODE"}'] == 2


def test_the_page_costs_the_same_whatever_the_size_of_the_tables(
    acme: Any, django_assert_max_num_queries: Any
):
    with django_assert_max_num_queries(4) as queries:
        shown()

    counts = [q["sql"] for q in queries.captured_queries if "COUNT(" in q["sql"]]
    assert all("state" in sql and "WHERE" in sql for sql in counts)
