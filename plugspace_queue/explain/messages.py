"""One plain sentence for each reason; none of them names another organization."""

from collections.abc import Callable
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.task_types import queue_of
from plugspace_queue.explain.reasons import Observation


def sentence_for(reason: Reason, observed: Observation) -> str:
    """What the reason means for this task, in the active language."""
    text = SENTENCES[reason]
    return text(observed) if callable(text) else str(text) % _values(observed)


def _values(observed: Observation) -> dict[str, Any]:
    wake_at = observed.task.wake_at
    return {
        "queue": queue_of(observed.task.type),
        "type": observed.task.type,
        "ttl": observed.task.ttl,
        "time": wake_at and wake_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "interval": f"{get_settings().relay_interval:g} s",
    }


def _failed(observed: Observation) -> str:
    error = observed.task.error or {}
    return _("It failed with %(code)s: %(message)s") % {
        "code": error.get("code", _("no code")),
        "message": error.get("message", _("no message")),
    }


def _cancelling(observed: Observation) -> str:
    if observed.state == State.PROCESSING:
        return _("Its cancellation was requested; its worker stops it.")
    return _("Its cancellation was requested; a worker ends it at its next check.")


def _running(observed: Observation) -> str:
    if observed.state != State.PROCESSING:
        return _("A worker has taken it and is about to start it.")
    if observed.view is None or observed.view.lease is None:
        return _("Its worker is gone; another worker recovers it within two leases.")
    if observed.view.lease.lease_end_ms < observed.view.now_ms:
        return _("Its worker has not renewed the lease; another worker recovers it.")
    return _("It runs.")


def _blocked(observed: Observation) -> str:
    count = observed.task.open_deps
    text = ngettext(
        "It waits for %(count)d task to complete first.",
        "It waits for %(count)d tasks to complete first.",
        count,
    )
    return text % {"count": count}


def _waiting(observed: Observation) -> str:
    position = observed.view.position if observed.view else None
    if position is None:
        return _("All gates are open; a worker puts it in line at its next check.")
    tasks = ngettext(
        "%(count)d task of its organization",
        "%(count)d tasks of its organization",
        position.tasks,
    ) % {"count": position.tasks}
    if position.at_least:
        tasks = _("at least %(tasks)s") % {"tasks": tasks}
    count = position.lanes + position.stricter_lanes
    lanes = ngettext("%(count)d other lane", "%(count)d other lanes", count) % {"count": count}
    text = _(
        "All gates are open; %(tasks)s and %(lanes)s are before it, and it starts when a worker"
        " has a free slot."
    )
    return text % {"tasks": tasks, "lanes": lanes}


def _counted(name: str, text: str | Promise) -> Callable[[Observation], str]:
    def sentence(observed: Observation) -> str:
        gate = observed.gate(name)
        assert gate is not None
        counts = {"current": gate.current, "limit": gate.limit}
        return str(text) % (_values(observed) | counts)

    return sentence


def _no_processor(observed: Observation) -> str:
    if observed.is_dropped:
        text = _("The task type %(type)s is not declared any more, so no worker takes it.")
    else:
        text = _("No worker of the queue %(queue)s has a processor for %(type)s.")
    return text % _values(observed)


SENTENCES: dict[Reason, str | Promise | Callable[[Observation], str]] = {
    Reason.COMPLETE: gettext_lazy("It is complete."),
    Reason.FAILED: _failed,
    Reason.CANCELLED: gettext_lazy("It was cancelled."),
    Reason.EXPIRED: gettext_lazy("It did not start within its ttl of %(ttl)d s."),
    Reason.CANCELLING: _cancelling,
    Reason.RUNNING: _running,
    Reason.BLOCKED: _blocked,
    Reason.EXPIRING: gettext_lazy(
        "It did not start within its ttl of %(ttl)d s; a worker ends it at its next check."
    ),
    Reason.BACKOFF: gettext_lazy(
        "Its last attempt did not succeed; the next one is due at %(time)s."
    ),
    Reason.SCHEDULED: gettext_lazy("It does not start before %(time)s."),
    Reason.UNPUBLISHED: gettext_lazy(
        "It is not in line yet: every %(interval)s, workers check for such rows and publish them."
    ),
    Reason.UNCONFIGURED: gettext_lazy(
        "Redis has no limits of this queue; nothing starts until a worker has written them."
    ),
    Reason.QUEUE_PAUSED: gettext_lazy("The queue %(queue)s is paused."),
    Reason.ORGANIZATION_PAUSED: gettext_lazy("Its organization is paused."),
    Reason.WORKERS_SUSPENDED: gettext_lazy("All workers are suspended (rq suspend)."),
    Reason.NO_PROCESSOR: _no_processor,
    Reason.NO_WORKER: gettext_lazy("No worker of the queue %(queue)s is alive."),
    Reason.QUEUE_CONCURRENCY: _counted(
        "queue_concurrency",
        gettext_lazy("The queue %(queue)s runs %(current)d of at most %(limit)d tasks."),
    ),
    Reason.QUEUE_LIMITER: _counted(
        "queue_limiter",
        gettext_lazy("The queue %(queue)s had %(current)d of %(limit)d starts in this window."),
    ),
    Reason.ORGANIZATION_CONCURRENCY: _counted(
        "organization_concurrency",
        gettext_lazy("Its organization runs %(current)d of at most %(limit)d tasks."),
    ),
    Reason.WAITING_ITS_TURN: _waiting,
}
