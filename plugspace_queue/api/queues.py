"""The six queues over HTTP: figures, pause, resume."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue.api.base import ApiView
from plugspace_queue.api.schema import answers, operation
from plugspace_queue.api.shapes import Limiter, QueueResults, QueueShape
from plugspace_queue.door.stats import FRESH_FOR, QueueStats
from plugspace_queue.errors import NotFound
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import QueueSettings
from plugspace_queue.policies import queue_settings
from plugspace_queue.types import Scope, TaskType

STAFF_POST: Any = frozenset({"POST"})


class QueueList(ApiView):
    """All queues."""

    @operation("listQueues", summary="All six queues", responses=answers(200, QueueResults))
    def get(self, request: Request) -> Response:
        return Response({"results": _shown(queue_manager.get_queue_stats(max_age=FRESH_FOR))})


class QueueDetail(ApiView):
    """One queue."""

    @operation("getQueue", summary="One queue", responses=answers(200, QueueShape))
    def get(self, request: Request, type: str) -> Response:
        return Response(_one(_type(type)))


class QueuePause(ApiView):
    """No task of the queue starts any more."""

    scopes: ClassVar = {"POST": Scope.OPERATE}
    staff_methods: ClassVar = STAFF_POST

    @operation(
        "pauseQueue",
        summary="Pause a queue (staff)",
        request=None,
        responses=answers(200, QueueShape),
    )
    def post(self, request: Request, type: str) -> Response:
        queue_manager.pause(_type(type))
        return Response(_one(_type(type)))


class QueueResume(ApiView):
    """Tasks of the queue start again."""

    scopes: ClassVar = {"POST": Scope.OPERATE}
    staff_methods: ClassVar = STAFF_POST

    @operation(
        "resumeQueue",
        summary="Resume a queue (staff)",
        request=None,
        responses=answers(200, QueueShape),
    )
    def post(self, request: Request, type: str) -> Response:
        queue_manager.resume(_type(type))
        return Response(_one(_type(type)))


def _type(text: str) -> TaskType:
    """The task type of an address, in either case. Raises NotFound."""
    try:
        return TaskType(text.upper())
    except ValueError:
        raise NotFound(
            f"There is no queue of that name; there are {', '.join(TaskType)}."
        ) from None


def _one(kind: TaskType) -> dict[str, Any]:
    return _shown(queue_manager.get_queue_stats(kind, max_age=FRESH_FOR))[0]


def _shown(rows: Sequence[QueueStats]) -> list[dict[str, Any]]:
    # From the rows: who has just paused a queue must see it paused.
    paused = QueueSettings.objects.filter(is_paused=True).values_list("type", flat=True)
    closed = set(paused)
    return [_of_queue(row, is_paused=row.type in closed) for row in rows]


def _of_queue(row: QueueStats, *, is_paused: bool) -> dict[str, Any]:
    """The figures of a queue beside the values in force."""
    values = queue_settings(row.type)
    shape = QueueShape(
        type=row.type,
        waiting=row.waiting,
        active=row.active,
        completed=row.completed,
        failed=row.failed,
        delayed=row.delayed,
        is_paused=is_paused,
        concurrency=values.concurrency,
        global_concurrency=values.global_concurrency,
        organization_concurrency=values.organization_concurrency,
        limiter=Limiter(max=values.limiter_max, duration=values.limiter_duration),
        policy=values.policy,
    )
    return shape.model_dump(mode="json", by_alias=True)
