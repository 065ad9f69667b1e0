"""One plain sentence for each reason; none of them names another organization."""

from collections.abc import Callable

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Reason, State
from plugspace_queue.domain.task_types import queue_of
from plugspace_queue.explain.reasons import Look


def sentence_for(reason: Reason, look: Look) -> str:
    """What the reason means for this task."""
    return SENTENCES[reason](look)


def _failed(look: Look) -> str:
    error = look.task.error or {}
    return f"It failed with {error.get('code', 'no code')}: {error.get('message', 'no message')}"


def _cancelling(look: Look) -> str:
    if look.state == State.PROCESSING:
        return "Its cancel was asked for; its worker was told and stops it."
    return "Its cancel was asked for; a worker ends it with its next look at such rows."


def _running(look: Look) -> str:
    if look.state != State.PROCESSING:
        return "A worker has taken it and is about to start it."
    if look.view is None or look.view.lease is None:
        return "Its worker is gone; other workers take it back within two lease times."
    if look.view.lease.lease_end_ms < look.view.now_ms:
        return "Its worker has not been heard of for a whole lease; others take it back."
    return "It runs."


def _blocked(look: Look) -> str:
    count = look.task.open_deps
    return f"It waits for {_many(count, 'task')} to complete first."


def _waiting(look: Look) -> str:
    position = look.view.position if look.view else None
    if position is None:
        return "All gates are open; a worker puts it in line with its next look."
    lines = position.lanes + position.stricter_lanes
    tasks = f"{'at least ' if position.at_least else ''}{_many(position.tasks, 'task')}"
    return (
        f"All gates are open; {tasks} of its organization and {_many(lines, 'other line')}"
        " are before it, and it starts when a worker has a slot free."
    )


def _counted(name: str, text: str) -> Callable[[Look], str]:
    def told(look: Look) -> str:
        gate = look.gate(name)
        assert gate is not None
        return text.format(current=gate.current, limit=gate.limit, queue=_queue(look))

    return told


def _queue(look: Look) -> str:
    return queue_of(look.task.type)


def _no_processor(look: Look) -> str:
    if look.is_dropped:
        return f"The task type {look.task.type} is not declared any more, so no worker takes it."
    return f"No worker of the queue {_queue(look)} has a processor for {look.task.type}."


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _wake_at(look: Look) -> str:
    assert look.task.wake_at is not None
    return look.task.wake_at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _every(look: Look) -> str:
    return f"{get_settings().relay_interval:g} s"


SENTENCES: dict[Reason, Callable[[Look], str]] = {
    Reason.COMPLETE: lambda look: "It is complete.",
    Reason.FAILED: _failed,
    Reason.CANCELLED: lambda look: "It was cancelled.",
    Reason.EXPIRED: lambda look: f"It did not start within its ttl of {look.task.ttl} s.",
    Reason.CANCELLING: _cancelling,
    Reason.RUNNING: _running,
    Reason.BLOCKED: _blocked,
    Reason.EXPIRING: lambda look: (
        f"It did not start within its ttl of {look.task.ttl} s; a worker ends it with its next"
        " look at such rows."
    ),
    Reason.BACKOFF: lambda look: (
        f"Its last attempt did not succeed; the next one is due at {_wake_at(look)}."
    ),
    Reason.SCHEDULED: lambda look: f"It is not to start before {_wake_at(look)}.",
    Reason.UNPUBLISHED: lambda look: (
        f"It is not in line yet: workers look for such rows every {_every(look)} and publish them."
    ),
    Reason.UNCONFIGURED: lambda look: (
        "Redis has no limits of this queue; nothing starts until a worker has written them."
    ),
    Reason.QUEUE_PAUSED: lambda look: f"The queue {_queue(look)} is paused.",
    Reason.ORGANIZATION_PAUSED: lambda look: "Its organization is paused.",
    Reason.WORKERS_SUSPENDED: lambda look: "All workers are suspended (rq suspend).",
    Reason.NO_PROCESSOR: _no_processor,
    Reason.NO_WORKER: lambda look: f"No worker of the queue {_queue(look)} is alive.",
    Reason.QUEUE_CONCURRENCY: _counted(
        "queue_concurrency", "The queue {queue} runs {current} tasks of {limit} at most."
    ),
    Reason.QUEUE_LIMITER: _counted(
        "queue_limiter", "The queue {queue} had {current} starts of {limit} in this window."
    ),
    Reason.ORGANIZATION_CONCURRENCY: _counted(
        "organization_concurrency", "Its organization runs {current} tasks of {limit} at most."
    ),
    Reason.WAITING_ITS_TURN: _waiting,
}
