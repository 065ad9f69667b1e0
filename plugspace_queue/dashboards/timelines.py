"""The history of one task as moments and bars, and how far it is now."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.broker import server
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.domain.spans import span
from plugspace_queue.domain.task_types import queue_of
from plugspace_queue.models import Attempt, Task, task_queries

MOST = 100
"""Attempts that are shown, the newest ones."""

WIDTH = 1000


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One line of the timeline."""

    at: datetime
    word: str
    """A state or an outcome; it gives the colour."""
    text: str
    attempt: Attempt | None = None
    error: Any = None
    """What ended the attempt, without secrets."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One execution on the way from acceptance to now, in thousandths."""

    x: int
    width: int
    word: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What happened, the first thing first."""

    moments: list[Moment]
    bars: list[Bar]
    whole: str
    """How long it took, or takes by now."""
    is_cut: bool


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the processor reported last."""

    percent: float
    stage: str


def timeline(task: Task, now: datetime | None = None) -> Timeline:
    """The timeline of a task; one query, whatever the number of attempts."""
    now = now or timezone.now()
    newest = task_queries.newest_attempts(task)
    found = list(newest[: MOST + 1])
    attempts = found[:MOST][::-1]
    end = task.completed_at or now
    moments = [_accepted(task), *map(_attempt, attempts), *_present(task, now), *_last(task)]
    return Timeline(
        moments=sorted(moments, key=lambda moment: moment.at),
        bars=_bars(task, attempts, end),
        whole=span((end - task.queued_at).total_seconds()),
        is_cut=len(found) > MOST,
    )


def _accepted(task: Task) -> Moment:
    text = _("accepted with priority %(priority)d") % {"priority": task.priority}
    return Moment(at=task.queued_at, word="waiting", text=text)


def _attempt(attempt: Attempt) -> Moment:
    took = span((attempt.ended_at - attempt.started_at).total_seconds())
    return Moment(
        at=attempt.started_at,
        word=attempt.outcome,
        text=_("attempt %(number)d on %(worker)s, %(span)s")
        % {
            "number": attempt.number,
            "worker": attempt.worker_name or _("a worker"),
            "span": took,
        },
        attempt=attempt,
        error=redacted(attempt.error),
    )


def _present(task: Task, now: datetime) -> list[Moment]:
    """What it does now, and what it waits for."""
    found = []
    if task.state == State.PROCESSING and task.started_at:
        ran = span((now - task.started_at).total_seconds())
        text = _("attempt %(number)d has been running on %(worker)s for %(span)s") % {
            "number": task.attempt_count,
            "worker": task.worker_name or _("a worker"),
            "span": ran,
        }
        found.append(Moment(at=task.started_at, word="processing", text=text))
    if task.state in (State.SCHEDULED, State.RETRYING) and task.wake_at:
        left = span((task.wake_at - now).total_seconds())
        text = _("does not start before this time, in %(span)s") % {"span": left}
        found.append(Moment(at=task.wake_at, word=task.state, text=text))
    if task.state == State.WAITING and task.deadline:
        left = span((task.deadline - now).total_seconds())
        text = _("expires in %(span)s unless it starts") % {"span": left}
        found.append(Moment(at=task.deadline, word="expired", text=text))
    return found


def _last(task: Task) -> list[Moment]:
    found = []
    if task.cancel_requested_at:
        at = task.cancel_requested_at
        found.append(Moment(at=at, word="cancelled", text=_("cancellation requested")))
    if task.completed_at:
        # After the attempt that ended with it.
        at = task.completed_at + timedelta(microseconds=1)
        found.append(Moment(at=at, word=task.state, text=_("ended")))
    return found


def _bars(task: Task, attempts: Sequence[Attempt], end: datetime) -> list[Bar]:
    name = _("attempt %(number)d")
    spans = [(a.started_at, a.ended_at, a.outcome, name % {"number": a.number}) for a in attempts]
    if task.state == State.PROCESSING and task.started_at:
        spans.append((task.started_at, end, "processing", _("runs")))
    whole = max((end - task.queued_at).total_seconds(), 0.001)

    def place(moment: datetime) -> int:
        share = (moment - task.queued_at).total_seconds() / whole
        return round(min(max(share, 0.0), 1.0) * WIDTH)

    return [
        Bar(
            x=place(start),
            width=max(place(stop) - place(start), 4),
            word=word,
            title=f"{title}: {word}",
        )
        for start, stop, word, title in spans
    ]


def progress_of(task: Task) -> Progress | None:
    """The progress of a task; None while nothing was reported."""
    found = _live_progress(task) if task.state == State.PROCESSING else None
    found = found or task.progress
    if not isinstance(found, dict) or not isinstance(found.get("percent"), int | float):
        return None
    return Progress(percent=found["percent"], stage=str(found.get("stage") or ""))


def _live_progress(task: Task) -> object:
    """From Redis, as the row has it only after the end."""
    text = server.task_snapshot(queue_of(task.type), str(task.pk))
    try:
        snapshot = json.loads(text) if text else {}
    except ValueError:
        return None
    return snapshot.get("progress") if isinstance(snapshot, dict) else None
