"""`/metrics` for Prometheus: the counters of all processes, and the queues as they are now."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from django.http import HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from plugspace_queue import metrics
from plugspace_queue.api.authentication import (
    ApiKeyAuthentication,
    MemberAuthentication,
    TokenAuthentication,
)
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.permissions import CanViewFleet
from plugspace_queue.broker import presence
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.metrics import BOUNDS, Metric
from plugspace_queue.services import queue_depths

FRESH_FOR = 3.0
"""Seconds for which a page is reused: several scrapers cost as much as one."""

_lock = threading.Lock()
_rendered_at = float("-inf")
_page = b""


class TextRenderer(JSONRenderer):
    """The media type that Prometheus accepts; problems are JSON here too."""

    media_type = "text/plain"
    format = "txt"


class MetricsView(ApiView):
    """The page; the OpenAPI document does not describe it."""

    authentication_classes = [TokenAuthentication, ApiKeyAuthentication, MemberAuthentication]
    permission_classes = [CanViewFleet]
    renderer_classes = [TextRenderer, JSONRenderer]
    schema: Any = None

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(page(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class QueueCollector(Collector):
    """Reads all metrics when a page is rendered."""

    def collect(self) -> Iterator[Family]:
        try:
            counters, workers = metrics.read(), metrics.workers_alive()
            depths = queue_depths.held()
        except Unavailable:
            yield GaugeMetricFamily("plugspace_redis_up", "Redis answers.", value=0)
            return
        yield GaugeMetricFamily("plugspace_redis_up", "Redis answers.", value=1)
        yield GaugeMetricFamily(
            "plugspace_workers", "Workers with a current heartbeat.", value=workers
        )
        yield _tasks(depths)
        yield _damaged()
        for metric in metrics.SHARED:
            yield _family(metric, counters)


_registry = CollectorRegistry()
_registry.register(QueueCollector())


def page() -> bytes:
    """The page, at most FRESH_FOR seconds old; requests wait while one of them renders it."""
    global _page, _rendered_at
    with _lock:
        if time.monotonic() - _rendered_at > FRESH_FOR:
            _page, _rendered_at = generate_latest(_registry), time.monotonic()
        return _page


def clear_cache() -> None:
    """Render the page anew for the next request."""
    global _rendered_at
    with _lock:
        _rendered_at = float("-inf")


def _tasks(depths: Iterable[queue_depths.QueueDepth]) -> Family:
    family = GaugeMetricFamily(
        "plugspace_tasks",
        "Tasks that wait, are delayed or run, as Redis has them, by the present tier of their "
        "organization; (none): no tier, (others): more tiers than are shown.",
        labels=("type", "state", "tier"),
    )
    for row in depths:
        family.add_metric((row.type.value, row.state, row.tier), row.tasks)
    return family


def _damaged() -> Family:
    family = GaugeMetricFamily(
        "plugspace_queue_damaged",
        "1: no worker can work on this queue, because its data in Redis is damaged.",
        labels=("type",),
    )
    damaged = presence.troubles()
    for task_type in TaskType:
        family.add_metric((task_type.value,), task_type.queue_name in damaged)
    return family


def _family(metric: Metric, counters: Mapping[str, int]) -> Family:
    """The samples of a metric among the counters."""
    values = _values(metric, counters)
    if metric.is_histogram:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, buckets in values.items():
            totals = accumulate(buckets.get(bound, 0) for bound in BOUNDS)
            histogram.add_metric(
                labels, list(zip(BOUNDS, totals, strict=True)), buckets.get("sum", 0) / 1000
            )
        return histogram
    counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        counter.add_metric(labels, value[""])
    return counter


def _values(metric: Metric, counters: Mapping[str, int]) -> dict[tuple[str, ...], dict[str, int]]:
    """Counters of a metric by their labels; of a histogram by bucket, else under ""."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for name, value in counters.items():
        base, *labels = name.split("|")
        # Counters with another number of labels were written by another version.
        if base == metric.name and len(labels) == len(metric.labels) + metric.is_histogram:
            bucket = labels.pop() if metric.is_histogram else ""
            found.setdefault(tuple(labels), {})[bucket] = value
    if not metric.labels:
        # Prometheus expects a metric without labels even while it is 0.
        found.setdefault((), {"": 0})
    return dict(sorted(found.items()))
