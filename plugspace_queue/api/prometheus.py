"""`/metrics` for Prometheus: what all processes counted, and how the queues stand now."""

import hmac
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from django.http import HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from plugspace_queue import metrics
from plugspace_queue.api.authentication import ApiKeyAuthentication, Caller, MemberAuthentication
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.caps import Credential
from plugspace_queue.broker import presence
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import AuthenticationRefused, PermissionRefused, Unavailable
from plugspace_queue.metrics import Metric
from plugspace_queue.services import queue_depths
from plugspace_queue.services.queue_depths import QueueDepth

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH_FOR = 3.0
"""Seconds a page is good for: several scrapers cost as much as one."""

HELD = (
    "Tasks that wait, are delayed or run, as the lines in Redis have them, by what tier their "
    "organization has now; (none): it has none, (others): beyond what is told apart."
)

DAMAGED = "1: no worker can work on this queue, for its data in Redis is damaged."

Sample = tuple[str, dict[str, str], float]

_lock = threading.Lock()
_made_at = float("-inf")
_page = ""


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <METRICS_TOKEN>`: a scraper that is no user."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        token = get_settings().metrics_token
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        is_bearer = bool(token) and scheme.lower() == "bearer"
        if not is_bearer or not hmac.compare_digest(sent.strip().encode(), token.encode()):
            return None
        caller = Caller(
            organization_id=None,
            user_id="metrics",
            verbs=frozenset({Verb.VIEW_FLEET}),
            credential=Credential("token", "metrics"),
            is_staff=True,
        )
        return None, caller

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="plugspace"'


class MaySeeAll(BasePermission):
    """Staff or the token: the figures are of all organizations, and a key is of one."""

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            raise AuthenticationRefused("Send METRICS_TOKEN as a bearer token.")
        if Verb.VIEW_FLEET not in caller.verbs:
            raise PermissionRefused("This is for staff and for METRICS_TOKEN.")
        return True


class TextRenderer(JSONRenderer):
    """What Prometheus accepts; problems are JSON here too."""

    media_type = "text/plain"
    format = "txt"


class MetricsView(ApiView):
    """The page; it is no part of the API's document."""

    authentication_classes = [TokenAuthentication, ApiKeyAuthentication, MemberAuthentication]
    permission_classes = [MaySeeAll]
    renderer_classes = [TextRenderer, JSONRenderer]
    schema: Any = None

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(page(), content_type=CONTENT_TYPE)


def page() -> str:
    """The page, at most three seconds old; who asks while it is made waits for it."""
    global _page, _made_at
    with _lock:
        if time.monotonic() - _made_at > FRESH_FOR:
            _page, _made_at = "".join(_lines()), time.monotonic()
        return _page


def forget() -> None:
    """Make the page anew when asked next."""
    global _made_at
    with _lock:
        _made_at = float("-inf")


def _lines() -> Iterator[str]:
    try:
        counters, workers = metrics.read(), metrics.workers_alive()
        rows = queue_depths.held()
    except Unavailable:
        yield from _metric("plugspace_redis_up", "gauge", "Redis answers.", [("", {}, 0)])
        return
    yield from _metric("plugspace_redis_up", "gauge", "Redis answers.", [("", {}, 1)])
    yield from _metric(
        "plugspace_workers", "gauge", "Workers whose heartbeat lives.", [("", {}, workers)]
    )
    yield from _metric("plugspace_tasks", "gauge", HELD, map(_held, rows))
    yield from _metric("plugspace_queue_damaged", "gauge", DAMAGED, _damaged())
    for metric in metrics.SHARED:
        kind = "histogram" if metric.is_histogram else "counter"
        yield from _metric(metric.name, kind, metric.help, _samples(metric, counters))


def _damaged() -> Iterator[Sample]:
    told = presence.troubles()
    for kind in TaskType:
        yield "", {"type": kind.value}, int(kind.queue_name in told)


def _held(row: QueueDepth) -> Sample:
    return "", {"type": row.type.value, "state": row.state, "tier": row.tier}, row.tasks


def _samples(metric: Metric, counters: dict[str, int]) -> Iterator[Sample]:
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for name, value in counters.items():
        base, *labels = name.split("|")
        # Another number of labels is another version's, whose counts are still there.
        if base == metric.name and len(labels) == len(metric.labels) + metric.is_histogram:
            bound = labels.pop() if metric.is_histogram else ""
            found.setdefault(tuple(labels), {})[bound] = value
    if not metric.labels:
        found.setdefault((), {"": 0})
    for known, values in sorted(found.items()):
        named = dict(zip(metric.labels, known, strict=True))
        if metric.is_histogram:
            yield from _histogram(named, values)
        else:
            yield "", named, values[""]


def _histogram(labels: dict[str, str], values: dict[str, int]) -> Iterator[Sample]:
    total = 0
    for bound in metrics.BOUNDS:
        total += values.get(bound, 0)
        yield "_bucket", labels | {"le": bound}, total
    yield "_sum", labels, values.get("sum", 0) / 1000
    yield "_count", labels, total


def _metric(name: str, kind: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {told}\n# TYPE {name} {kind}\n"
    for suffix, labels, value in samples:
        shown = ",".join(f'{key}="{text}"' for key, text in labels.items())
        yield f"{name}{suffix}{{{shown}}} {value}\n" if shown else f"{name}{suffix} {value}\n"
