"""Events over HTTP: a stream under an ASGI server, otherwise or on request a page to poll."""

import math
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import Error
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api import grants, sse, stream_limits
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import READS, answers, operation, parameters
from plugspace_queue.api.pagination import parse_query
from plugspace_queue.api.permissions import visible_organization
from plugspace_queue.api.requests import EventQuery
from plugspace_queue.api.responses import EventPage
from plugspace_queue.api.spectacular import OpenApiParameter, OpenApiResponse
from plugspace_queue.api.sse import Subscription
from plugspace_queue.broker.stream import START
from plugspace_queue.errors import TooManyStreams, Unavailable, ValidationRefused
from plugspace_queue.events import fanout
from plugspace_queue.events.frames import StreamEntry, Topic
from plugspace_queue.events.listeners import CURSOR
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import task_queries

R = TypeVar("R", bound=HttpResponseBase)

CLOSED_STREAM_LIMIT = 100
"""Events of a stream that is answered without an ASGI server."""

MAX_READ, MAX_BYTES = 2_000, 4 * 1024 * 1024
"""Entries of the Redis stream that one poll reads, about, and bytes of its own events among them.

All organizations share one Redis stream: a poll may find few of its own events among very many.
"""

STREAM_SCHEMA = {
    "type": "object",
    "description": "One event of the stream; `data` is an EventShape as JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
LAST_EVENT_ID = "Last-Event-ID"

CLOCK_SKEW_MS = 60_000
"""How far the clock of Redis, which makes cursors, may be behind the clock that makes ids."""


class EventStreamRenderer(JSONRenderer):
    """The media type that an EventSource accepts; problems are JSON here too."""

    media_type = "text/event-stream"
    format = "sse"


def listen(operation_id: str, summary: str) -> Callable[[Any], Any]:
    """Describe an operation that answers with a stream or a page."""
    stream = OpenApiResponse(STREAM_SCHEMA, "Server-sent events; `id` is the cursor.")
    return operation(
        operation_id,
        summary=summary,
        parameters=[
            *parameters(EventQuery),
            OpenApiParameter(
                LAST_EVENT_ID,
                {"type": "string", "pattern": f"^{CURSOR.pattern}$"},
                OpenApiParameter.HEADER,
                description="Resume after this event; overrides `since`.",
            ),
        ],
        responses=answers((200, "text/event-stream"), stream, (*READS, 429))
        | {
            (200, "application/json"): EventPage,
            204: OpenApiResponse(None, "All of it has ended, and nothing came after the cursor."),
        },
    )


class _EventsView(ApiView):
    """Base of the three views; they choose the topic and know when it has ended."""

    renderer_classes = [EventStreamRenderer, JSONRenderer]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Wait for a turn; under ASGI, close the connections of the request's thread."""
        with stream_limits.turns.turn(_presented_credential(request)):
            try:
                return super().dispatch(request, *args, **kwargs)
            finally:
                if isinstance(request, ASGIRequest):
                    grants.close_connections()

    def get_renderers(self) -> list[BaseRenderer]:
        """A client that sends `since` and accepts anything gets JSON."""
        renderers = super().get_renderers()
        accepted = self.request.headers.get("Accept", "*/*")
        wants_stream = EventStreamRenderer.media_type in accepted
        return renderers[::-1] if "since" in self.request.GET and not wants_stream else renderers

    def answer(
        self,
        topic: Topic,
        *,
        start: str | None = None,
        is_over: bool = False,
        check_over: Callable[[], bool] | None = None,
    ) -> HttpResponseBase:
        """A page or a stream. `start` is the topic's first cursor; None: streams begin now."""
        params = parse_query(self.request, EventQuery)
        cursor = self._cursor(params)
        if not isinstance(self.request.accepted_renderer, EventStreamRenderer):
            return self._page(topic, cursor or start or START, params.limit)
        holder = self.caller.holder()
        grants.refuse_suspended(holder)
        # Claimed before Redis is read: a caller at its limit causes no further work.
        claim = stream_limits.claim(holder) if self._stays_open() else None
        now = fanout.last_cursor()
        subscription = Subscription(
            topic=topic,
            start=cursor or start or now,
            now=now,
            is_staff=self.caller.is_staff,
            is_over=is_over,
            check_over=check_over and _in_shared_thread(check_over),
            claim=claim,
        )
        if cursor and is_over and self._has_sent_all(topic, cursor):
            return HttpResponse(status=204)
        if claim is not None:
            return _as_stream(StreamingHttpResponse(sse.frames(subscription)))
        return self._closed_stream(subscription)

    def _stays_open(self) -> bool:
        """Whether the response is an open stream, which only an ASGI server can serve."""
        return isinstance(self.request._request, ASGIRequest) and self.request.method == "GET"

    def _cursor(self, params: EventQuery) -> str | None:
        cursor = self.request.headers.get(LAST_EVENT_ID) or params.since
        if cursor is not None and not CURSOR.fullmatch(cursor):
            raise ValidationRefused(_("Invalid cursor; use the id of an event."))
        return cursor

    def _has_sent_all(self, topic: Topic, cursor: str) -> bool:
        """Whether no event is stored after a cursor; False when the caller polls too much.

        The whole rest is read: an EventSource that does not get 204 connects again and again.
        """
        try:
            with stream_limits.poll(self.caller.holder()):
                return not _collect(topic, cursor, 1, max_read=math.inf).entries
        except TooManyStreams:
            return False

    def _page(self, topic: Topic, cursor: str, limit: int) -> Response:
        with stream_limits.poll(self.caller.holder()):
            found = _collect(topic, cursor, limit)
        is_staff = self.caller.is_staff
        results = [entry.body if is_staff else entry.public_body for entry in found.entries]
        return Response({"results": results, "cursor": found.cursor, "hasMore": found.has_more})

    def _closed_stream(self, subscription: Subscription) -> HttpResponse:
        """Without an ASGI server: the stored events; an EventSource connects again by itself."""
        with stream_limits.poll(self.caller.holder()):
            found = _collect(subscription.topic, subscription.start, CLOSED_STREAM_LIMIT)
        parts = [entry.frame(is_staff=subscription.is_staff) for entry in found.entries]
        if found.has_more:
            # An event without data only advances the client's Last-Event-ID.
            parts.append(f"id: {found.cursor}\n\n".encode())
        return _as_stream(HttpResponse(b"".join([sse.RETRY_FRAME, *parts])))


class TaskEvents(_EventsView):
    """The events of a task, from its submit to its final event."""

    @listen("listenToTask", "Events of a task, as a stream or a page")
    def get(self, request: Request, task_id: UUID) -> HttpResponseBase:
        task = queue_manager.get_task(task_id, self.caller.organization_id)
        return self.answer(
            Topic("jobId", str(task.pk)),
            start=_first_cursor(task.pk),
            is_over=task.is_final,
            check_over=lambda: not task_queries.is_open(task_id),
        )


class WorkflowEvents(_EventsView):
    """The events of the steps of a workflow; ends when all steps have ended."""

    @listen("listenToWorkflow", "Events of a workflow's steps, as a stream or a page")
    def get(self, request: Request, workflow_id: UUID) -> HttpResponseBase:
        workflow = queue_manager.get_workflow(workflow_id, self.caller.organization_id)

        def is_over() -> bool:
            return not task_queries.has_open_steps(workflow_id)

        return self.answer(
            Topic("workflowId", str(workflow.pk)),
            start=_first_cursor(workflow.pk),
            is_over=is_over(),
            check_over=is_over,
        )


class OrganizationEvents(_EventsView):
    """The events of all tasks of an organization; does not end."""

    @listen("listenToOrganization", "Events of an organization, as a stream or a page")
    def get(self, request: Request, organization_id: str) -> HttpResponseBase:
        organization = visible_organization(organization_id, only=self.caller.organization_id)
        return self.answer(Topic("organizationId", organization.pk))


def _first_cursor(row_id: uuid.UUID) -> str:
    """A cursor before the first event of a row: the first 48 bits of its id are its time."""
    return f"{max((row_id.int >> 80) - CLOCK_SKEW_MS, 0)}-0" if row_id.version == 7 else START


class _Collected(NamedTuple):
    """Stored events, the cursor to continue from, and whether there may be more after it."""

    entries: list[StreamEntry]
    cursor: str
    has_more: bool


def _collect(topic: Topic, cursor: str, limit: int, *, max_read: float = MAX_READ) -> _Collected:
    """Up to `limit` stored events after a cursor, from a bounded part of the Redis stream."""
    found: list[StreamEntry] = []
    read = size = 0
    while len(found) < limit and read < max_read and size < MAX_BYTES:
        page, last = fanout.read_page(topic, cursor)
        if last == cursor:
            return _Collected(found, cursor, False)
        found += page
        cursor = last
        read += fanout.PAGE
        size += sum(entry.size for entry in page)
    if len(found) > limit:
        found = found[:limit]
        cursor = found[-1].cursor
    return _Collected(found, cursor, True)


def _presented_credential(request: HttpRequest) -> str:
    """What the client sent as its credential, not verified yet; else where it comes from."""
    sent = (
        request.headers.get("Authorization"),
        request.COOKIES.get(settings.SESSION_COOKIE_NAME),
        request.headers.get("Cookie"),
        request.META.get("REMOTE_ADDR"),
    )
    return next(filter(None, sent), "")


def _as_stream(response: R) -> R:
    response["Content-Type"] = EventStreamRenderer.media_type
    # nginx would buffer the events.
    response["X-Accel-Buffering"] = "no"
    return response


def _in_shared_thread(check: Callable[[], bool]) -> Callable[[], bool]:
    """The check for a thread that serves many: closes its connections, raises Unavailable."""

    def checked() -> bool:
        try:
            return check()
        except Error as error:
            raise Unavailable from error
        finally:
            grants.close_connections()

    return checked
