"""Events over HTTP: a stream under an ASGI server, else and on request a page to poll."""

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
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api import authentication, caps, grants, sse
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import READS, answers, operation, parameters
from plugspace_queue.api.pagination import query
from plugspace_queue.api.requests import EventQuery
from plugspace_queue.api.responses import EventPage
from plugspace_queue.api.sse import Feed
from plugspace_queue.api.turns import polling, turns
from plugspace_queue.broker.stream import START
from plugspace_queue.errors import TooManyStreams, Unavailable, ValidationRefused
from plugspace_queue.events import fanout
from plugspace_queue.events.frames import Entry, Subject
from plugspace_queue.events.listeners import CURSOR
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Task

R = TypeVar("R", bound=HttpResponseBase)

MOST_AT_ONCE = 100
MOST_READ, MOST_BYTES = 2_000, 4 * 1024 * 1024
"""Entries of the stream that one poll reads, about, and bytes of its own events among them.

Those of all organizations are in one stream: a poll may find few of its own among very many.
"""

SENT = {
    "type": "object",
    "description": "One event of the stream; `data` is an EventShape as JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
LAST_EVENT_ID = "Last-Event-ID"

SKEW_MS = 60_000
"""How far the clock of Redis, which makes cursors, may be behind the one that makes ids."""


class EventStreamRenderer(JSONRenderer):
    """What an EventSource accepts; problems are JSON here too."""

    media_type = "text/event-stream"
    format = "sse"


def listen(operation_id: str, summary: str) -> Callable[[Any], Any]:
    """Describe an operation that streams, or answers a page."""
    stream = OpenApiResponse(SENT, "Server-sent events; `id` is the cursor.")
    return operation(
        operation_id,
        summary=summary,
        parameters=[
            *parameters(EventQuery),
            OpenApiParameter(
                LAST_EVENT_ID,
                {"type": "string", "pattern": f"^{CURSOR.pattern}$"},
                OpenApiParameter.HEADER,
                description="Resume after this event; goes before `since`.",
            ),
        ],
        responses=answers((200, "text/event-stream"), stream, (*READS, 429))
        | {
            (200, "application/json"): EventPage,
            204: OpenApiResponse(None, "All of it has ended, and nothing came after the cursor."),
        },
    )


class _Events(ApiView):
    """Base of the three: whose events, and when there are no more."""

    renderer_classes = [EventStreamRenderer, JSONRenderer]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Take turns; the thread of a request under ASGI lives on, its connections must not."""
        with turns.turn(_presented(request)):
            try:
                return super().dispatch(request, *args, **kwargs)
            finally:
                if isinstance(request, ASGIRequest):
                    grants.leave_databases()

    def get_renderers(self) -> list[BaseRenderer]:
        """Who polls with `since` and accepts anything gets JSON."""
        renderers = super().get_renderers()
        accepted = self.request.headers.get("Accept", "*/*")
        wants_stream = EventStreamRenderer.media_type in accepted
        return renderers[::-1] if "since" in self.request.GET and not wants_stream else renderers

    def answer(
        self,
        subject: Subject,
        *,
        start: str | None = None,
        is_over: bool = False,
        look: Callable[[], bool] | None = None,
    ) -> HttpResponseBase:
        """A page, or a stream. `start` is where a subject begins; None: streams begin now."""
        asked = query(self.request, EventQuery)
        cursor = self._cursor(asked)
        if not isinstance(self.request.accepted_renderer, EventStreamRenderer):
            return self._page(subject, cursor or start or START, asked.limit)
        holder = self.caller.holder()
        grants.refuse_suspended(holder)
        # Asked for before Redis is: who may open no more makes no further work.
        claim = caps.claim(holder) if self._stays_open() else None
        now = fanout.newest()
        feed = Feed(
            subject=subject,
            start=cursor or start or now,
            now=now,
            is_staff=self.caller.is_staff,
            is_over=is_over,
            look=look and _aside(look),
            claim=claim,
        )
        if cursor and is_over and self._has_told_all(subject, cursor):
            return HttpResponse(status=204)
        if claim is not None:
            return _as_stream(StreamingHttpResponse(sse.frames(feed)))
        return self._at_once(feed)

    def _stays_open(self) -> bool:
        """Whether the answer is a stream that goes on, which only an ASGI server can hold."""
        return isinstance(self.request._request, ASGIRequest) and self.request.method == "GET"

    def _cursor(self, asked: EventQuery) -> str | None:
        told = self.request.headers.get(LAST_EVENT_ID) or asked.since
        if told is not None and not CURSOR.fullmatch(told):
            raise ValidationRefused("This cursor is none of ours; take it from an event's id.")
        return told

    def _has_told_all(self, subject: Subject, cursor: str) -> bool:
        """Whether no event is kept after a cursor; not looked at when the organization polls a lot.

        All that is kept is read: an EventSource that is not told of the end comes again and again.
        """
        try:
            with polling(self.caller.holder()):
                return not _collected(subject, cursor, 1, read_at_most=math.inf).entries
        except TooManyStreams:
            return False

    def _page(self, subject: Subject, cursor: str, limit: int) -> Response:
        with polling(self.caller.holder()):
            found = _collected(subject, cursor, limit)
        shown = [entry.body if self.caller.is_staff else entry.told for entry in found.entries]
        return Response({"results": shown, "cursor": found.cursor, "hasMore": found.has_more})

    def _at_once(self, feed: Feed) -> HttpResponse:
        """Without an ASGI server: what is there; an EventSource comes again by itself."""
        with polling(self.caller.holder()):
            found = _collected(feed.subject, feed.start, MOST_AT_ONCE)
        parts = [entry.staff_frame if feed.is_staff else entry.frame for entry in found.entries]
        if found.has_more:
            # An empty event that only moves the client's Last-Event-ID on.
            parts.append(f"id: {found.cursor}\n\n".encode())
        return _as_stream(HttpResponse(b"".join([sse.RETRY, *parts])))


class TaskEvents(_Events):
    """What happens to a task, from its submit on; ends with its final event."""

    @listen("listenToTask", "Events of a task, as a stream or a page")
    def get(self, request: Request, task_id: UUID) -> HttpResponseBase:
        task = queue_manager.get_task(task_id, self.caller.organization_id)
        return self.answer(
            Subject("jobId", str(task.pk)),
            start=_first_cursor(task.pk),
            is_over=task.is_final,
            look=lambda: not Task.objects.open().filter(pk=task_id).exists(),
        )


class WorkflowEvents(_Events):
    """What happens to the steps of a workflow; ends when all of them have."""

    @listen("listenToWorkflow", "Events of a workflow's steps, as a stream or a page")
    def get(self, request: Request, workflow_id: UUID) -> HttpResponseBase:
        workflow = queue_manager.get_workflow(workflow_id, self.caller.organization_id)

        def is_over() -> bool:
            return not Task.objects.open().filter(workflow_id=workflow_id).exists()

        return self.answer(
            Subject("workflowId", str(workflow.pk)),
            start=_first_cursor(workflow.pk),
            is_over=is_over(),
            look=is_over,
        )


class OrganizationEvents(_Events):
    """What happens to all tasks of an organization; does not end."""

    @listen("listenToOrganization", "Events of an organization, as a stream or a page")
    def get(self, request: Request, organization_id: str) -> HttpResponseBase:
        if self.caller.organization_id not in (None, organization_id):
            raise authentication.not_yours()
        organization = authentication.organization(organization_id)
        return self.answer(Subject("organizationId", organization.pk))


def _first_cursor(made: uuid.UUID) -> str:
    """Before the first event of what has this id: its first 48 bits are its time."""
    return f"{max((made.int >> 80) - SKEW_MS, 0)}-0" if made.version == 7 else START


class _Collected(NamedTuple):
    """Kept events, the cursor to go on from, and whether there may be more behind it."""

    entries: list[Entry]
    cursor: str
    has_more: bool


def _collected(
    subject: Subject, cursor: str, most: int, *, read_at_most: float = MOST_READ
) -> _Collected:
    """At most so many kept events after a cursor, of a bounded part of the stream."""
    found: list[Entry] = []
    read = size = 0
    while len(found) < most and read < read_at_most and size < MOST_BYTES:
        page, last = fanout.kept(subject, cursor)
        if last == cursor:
            return _Collected(found, cursor, False)
        found += page
        cursor = last
        read += fanout.PAGE
        size += sum(entry.size for entry in page)
    if len(found) > most:
        found = found[:most]
        cursor = found[-1].cursor
    return _Collected(found, cursor, True)


def _presented(request: HttpRequest) -> str:
    """What a caller came with, before anybody has looked whether it is valid."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    return request.headers.get("Authorization", "") or session


def _as_stream(response: R) -> R:
    response["Content-Type"] = EventStreamRenderer.media_type
    # nginx would collect the events before it passes them on.
    response["X-Accel-Buffering"] = "no"
    return response


def _aside(look: Callable[[], bool]) -> Callable[[], bool]:
    """The same for a thread that serves many: no connection is left, no driver's error raised."""

    def looked() -> bool:
        try:
            return look()
        except Error as error:
            raise Unavailable from error
        finally:
            grants.leave_databases()

    return looked
