"""The six queues over HTTP: figures, settings, pause, resume."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from pydantic.alias_generators import to_camel
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from plugspace_queue import audit_log
from plugspace_queue.api.base import ApiViewSet
from plugspace_queue.api.openapi import CHANGES, answers, operation
from plugspace_queue.api.requests import QueueChange, ReasonRequest
from plugspace_queue.api.responses import LimiterShape, LimitOverride, QueueResults, QueueShape
from plugspace_queue.domain import catalog
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import NotFound, Unavailable
from plugspace_queue.limits.policies import QueuePolicy, queue_settings
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import tenancy_queries
from plugspace_queue.services.organization_stats import OwnStats, own_stats
from plugspace_queue.services.queue_stats import FRESH_FOR, QueueStats

FIGURES = ("waiting", "active", "completed", "failed", "delayed")
POLICY_FIELDS = {"policy", "default_priority"}
"""Fields that only administrators change: they decide whom a queue serves first."""
AUDITED = (
    "concurrency",
    "global_concurrency",
    "organization_concurrency",
    "limiter_max",
    "limiter_duration",
    "policy",
    "default_priority",
)


class QueueViewSet(ApiViewSet):
    """The queues, with figures of the caller's organization; for staff of all."""

    lookup_url_kwarg = "type"
    lookup_value_converter = "str"
    verbs: ClassVar = {"partial_update": Verb.LIMIT, "pause": Verb.PAUSE, "resume": Verb.PAUSE}

    @operation("listQueues", summary="All six queues", responses=answers(200, QueueResults))
    def list(self, request: Request) -> Response:
        """All queues."""
        return Response({"results": self._shown(*catalog.public_types())})

    @operation("getQueue", summary="One queue", responses=answers(200, QueueShape))
    def retrieve(self, request: Request, type: str) -> Response:
        """One queue."""
        return Response(self._shown(task_type_of(type))[0])

    @operation(
        "changeQueue",
        summary="Change limiter, slots and caps (staff), policy and default priority (staff who "
        "administer); in force within a second",
        request=QueueChange,
        responses=answers(200, QueueShape, CHANGES),
    )
    def partial_update(self, request: Request, type: str) -> Response:
        """Change the settings of a queue."""
        task_type = task_type_of(type)
        change = self.body(QueueChange)
        if POLICY_FIELDS & change.changes().keys():
            self.caller.require(Verb.SET_POLICY)
        before = audit_log.values(tenancy_queries.queue_row(task_type.value), AUDITED)
        queue_manager.set_queue(task_type, change.changes())
        row = tenancy_queries.queue_row(task_type.value)
        if text := audit_log.differences(before, audit_log.values(row, AUDITED)):
            self.audit(row, text, change.reason)
        return self._after_change(task_type)

    @operation(
        "pauseQueue",
        summary="Pause a queue (staff)",
        request=ReasonRequest,
        responses=answers(200, QueueShape, CHANGES),
    )
    @action(detail=True, methods=["post"], url_name="queue-pause")
    def pause(self, request: Request, type: str) -> Response:
        """Start no more tasks of the queue."""
        task_type, reason = task_type_of(type), self.read_reason()
        queue_manager.pause(task_type)
        self.audit(tenancy_queries.queue_row(task_type.value), "paused", reason)
        return self._after_change(task_type)

    @operation(
        "resumeQueue",
        summary="Resume a queue (staff)",
        request=ReasonRequest,
        responses=answers(200, QueueShape, CHANGES),
    )
    @action(detail=True, methods=["post"], url_name="queue-resume")
    def resume(self, request: Request, type: str) -> Response:
        """Start tasks of the queue again."""
        task_type, reason = task_type_of(type), self.read_reason()
        queue_manager.resume(task_type)
        self.audit(tenancy_queries.queue_row(task_type.value), "resumed", reason)
        return self._after_change(task_type)

    def _after_change(self, task_type: TaskType) -> Response:
        """The queue after a change, which is stored even when Redis cannot return the figures."""
        try:
            return Response(self._shown(task_type)[0])
        except Unavailable:
            is_paused = tenancy_queries.is_queue_paused(task_type.value)
            return Response(_to_wire(task_type, dict.fromkeys(FIGURES), is_paused=is_paused))

    def _shown(self, *types: TaskType) -> Any:
        organization_id = self.caller.organization_id
        rows: Iterable[QueueStats | OwnStats]
        if organization_id is None:
            rows = queue_manager.get_queue_stats(max_age=FRESH_FOR)
        else:
            rows = own_stats(organization_id, [*types])
        # From the rows, so that a caller who has just paused a queue sees it paused.
        paused = set(tenancy_queries.paused_types())
        return [
            _to_wire(
                row.type,
                {name: getattr(row, name) for name in FIGURES},
                is_paused=row.type in paused,
            )
            for row in rows
            if row.type in types
        ]


def task_type_of(text: str) -> TaskType:
    """The task type of a URL, in either case. Raises NotFound."""
    found = catalog.find(text.upper())
    if found is None or found.is_internal:
        raise NotFound(
            _("There is no queue of that name; there are %(names)s.")
            % {"names": ", ".join(catalog.public_types())}
        )
    return found


def _limiter(values: QueuePolicy) -> LimiterShape | None:
    if values.limiter_max is None:
        return None
    return LimiterShape(max=values.limiter_max, duration=values.limiter_duration)


def _to_wire(
    task_type: TaskType, figures: dict[str, int | None], *, is_paused: bool
) -> dict[str, Any]:
    """The figures of a queue and the settings in force."""
    values = queue_settings(task_type)
    shape = QueueShape(
        type=task_type,
        **figures,
        is_paused=is_paused,
        concurrency=values.concurrency,
        global_concurrency=values.global_concurrency,
        organization_concurrency=values.organization_concurrency,
        default_priority=values.default_priority,
        limiter=_limiter(values),
        policy=values.policy,
        overrides=[
            LimitOverride(key=to_camel(row.key), ends_at=row.ends_at) for row in values.overrides
        ],
    )
    return shape.model_dump(mode="json", by_alias=True)
