"""The six queues over HTTP: figures, how they are set, pause, resume."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue import audit_log
from plugspace_queue.api.authentication import Caller
from plugspace_queue.api.base import ApiView
from plugspace_queue.api.openapi import CHANGES, answers, operation
from plugspace_queue.api.requests import QueueChange, ReasonRequest
from plugspace_queue.api.responses import Limiter, QueueResults, QueueShape
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import NotFound, Unavailable
from plugspace_queue.limits.policies import queue_settings
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import QueueSettings
from plugspace_queue.services.organization_stats import own_stats
from plugspace_queue.services.queue_stats import FRESH_FOR, QueueStats

FIGURES = ("waiting", "active", "completed", "failed", "delayed")
POLICIES = {"policy", "default_priority"}
"""Whom a queue serves first: no limit, and for who administers."""
COLUMNS = (
    "concurrency",
    "global_concurrency",
    "organization_concurrency",
    "limiter_max",
    "limiter_duration",
    "policy",
    "default_priority",
)


class QueueList(ApiView):
    """All queues."""

    @operation("listQueues", summary="All six queues", responses=answers(200, QueueResults))
    def get(self, request: Request) -> Response:
        return Response({"results": _shown(self.caller, list(TaskType))})


class QueueDetail(ApiView):
    """One queue."""

    verbs: ClassVar = {"PATCH": Verb.LIMIT}

    @operation("getQueue", summary="One queue", responses=answers(200, QueueShape))
    def get(self, request: Request, type: str) -> Response:
        return Response(_one(self.caller, _type(type)))

    @operation(
        "changeQueue",
        summary="Change limiter, slots and caps (staff), policy and default priority (staff who "
        "administer); in force within a second",
        request=QueueChange,
        responses=answers(200, QueueShape, CHANGES),
    )
    def patch(self, request: Request, type: str) -> Response:
        kind = _type(type)
        wanted = self.body(QueueChange)
        if POLICIES & wanted.changes().keys():
            self.caller.require(Verb.SET_POLICY)
        before = audit_log.values(_row(kind), COLUMNS)
        queue_manager.set_queue(kind, wanted.changes())
        row = _row(kind)
        if words := audit_log.differences(before, audit_log.values(row, COLUMNS)):
            self.note(row, words, wanted.reason)
        return Response(_changed(self.caller, kind))


class QueuePause(ApiView):
    """No task of the queue starts any more."""

    verbs: ClassVar = {"POST": Verb.PAUSE}

    @operation(
        "pauseQueue",
        summary="Pause a queue (staff)",
        request=ReasonRequest,
        responses=answers(200, QueueShape, CHANGES),
    )
    def post(self, request: Request, type: str) -> Response:
        kind, asked = _type(type), self.body(ReasonRequest, is_optional=True)
        queue_manager.pause(kind)
        self.note(_row(kind), "paused", asked.reason)
        return Response(_changed(self.caller, kind))


class QueueResume(ApiView):
    """Tasks of the queue start again."""

    verbs: ClassVar = {"POST": Verb.PAUSE}

    @operation(
        "resumeQueue",
        summary="Resume a queue (staff)",
        request=ReasonRequest,
        responses=answers(200, QueueShape, CHANGES),
    )
    def post(self, request: Request, type: str) -> Response:
        kind, asked = _type(type), self.body(ReasonRequest, is_optional=True)
        queue_manager.resume(kind)
        self.note(_row(kind), "resumed", asked.reason)
        return Response(_changed(self.caller, kind))


def _type(text: str) -> TaskType:
    """The task type of an address, in either case. Raises NotFound."""
    try:
        return TaskType(text.upper())
    except ValueError:
        raise NotFound(
            f"There is no queue of that name; there are {', '.join(TaskType)}."
        ) from None


def _row(kind: TaskType) -> QueueSettings:
    return QueueSettings.objects.filter(pk=kind.value).first() or QueueSettings(type=kind.value)


def _one(caller: Caller, kind: TaskType) -> dict[str, Any]:
    return _shown(caller, [kind])[0]


def _changed(caller: Caller, kind: TaskType) -> dict[str, Any]:
    """The queue after a change, which is done even when Redis cannot tell the figures."""
    try:
        return _one(caller, kind)
    except Unavailable:
        is_paused = QueueSettings.objects.filter(pk=kind.value, is_paused=True).exists()
        return _told(kind, is_paused, dict.fromkeys(FIGURES))


def _shown(caller: Caller, kinds: list[TaskType]) -> list[dict[str, Any]]:
    """The queues with figures of the caller's organization; of all for staff who name none."""
    one = caller.organization_id
    rows = _fleet(kinds) if one is None else own_stats(one, kinds)
    # From the rows: who has just paused a queue must see it paused.
    paused = QueueSettings.objects.filter(is_paused=True).values_list("type", flat=True)
    closed = set(paused)
    return [
        _told(row.type, row.type in closed, {name: getattr(row, name) for name in FIGURES})
        for row in rows
    ]


def _fleet(kinds: list[TaskType]) -> Sequence[QueueStats]:
    rows = queue_manager.get_queue_stats(max_age=FRESH_FOR)
    return [row for row in rows if row.type in kinds]


def _told(kind: TaskType, is_paused: bool, figures: dict[str, int | None]) -> dict[str, Any]:
    """The figures of a queue beside the values in force."""
    values = queue_settings(kind)
    shape = QueueShape(
        type=kind,
        **figures,
        is_paused=is_paused,
        concurrency=values.concurrency,
        global_concurrency=values.global_concurrency,
        organization_concurrency=values.organization_concurrency,
        default_priority=values.default_priority,
        limiter=Limiter(max=values.limiter_max, duration=values.limiter_duration),
        policy=values.policy,
    )
    return shape.model_dump(mode="json", by_alias=True)
