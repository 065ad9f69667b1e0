"""Failures by cause: what failed in a time, who was hit, and the row for it on the first page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from plugspace_queue.dashboards.cache import TimedCache
from plugspace_queue.dashboards.explanations import HELPS
from plugspace_queue.dashboards.failure_charts import FailureChart
from plugspace_queue.dashboards.time_ranges import HOUR, TimeRange
from plugspace_queue.domain.redaction import redacted
from plugspace_queue.models import FailureGroup, Task, failure_queries
from plugspace_queue.models.failure_queries import Minutes

MOST_GROUPS = 50
MOST_ORGANIZATIONS = 20
MOST_TASKS = 20


@dataclass(frozen=True, kw_only=True)
class FailureFilter:
    """Which failures are looked for; an empty value is no condition."""

    type: str = ""
    code: str = ""
    organization_id: str = ""
    state: str = ""
    """open, muted, resolved or all; empty for open."""

    @property
    def query(self) -> dict[str, str]:
        """The parameters of an address for this filter."""
        named = {
            "type": self.type,
            "code": self.code,
            "organization": self.organization_id,
            "state": self.state,
        }
        return {name: value for name, value in named.items() if value}

    def within(self, time: TimeRange, now: datetime) -> Minutes:
        """The minutes of these failures."""
        minutes = self.of_any_state(time)
        match self.state:
            case "all":
                return minutes
            case "muted":
                return minutes.filter(~failure_queries.open_at(now), group__state="muted")
            case "resolved":
                return minutes.filter(group__state="resolved")
        return minutes.filter(failure_queries.open_at(now))

    def of_any_state(self, time: TimeRange) -> Minutes:
        """The minutes of these failures, whatever was decided about their groups."""
        conditions = {
            "group__type": self.type,
            "group__code": self.code,
            "organization": self.organization_id,
        }
        given = {name: value for name, value in conditions.items() if value}
        return failure_queries.minutes_within(time.start, time.end).filter(**given)


@dataclass(frozen=True, kw_only=True)
class GroupLine:
    """One group in the list."""

    group: FailureGroup
    state: str
    failures: int
    organizations: int
    chart: FailureChart


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The groups of a time, most failures first."""

    lines: Sequence[GroupLine]
    is_cut: bool
    chart: FailureChart
    hidden: int
    """Failures of muted and resolved groups, which the filter leaves out."""
    at: datetime


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """One group in a time."""

    group: FailureGroup
    state: str
    chart: FailureChart
    organizations: Sequence[Mapping[str, Any]]
    organization_count: int
    tasks: Sequence[Task]
    help: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What failed in the last hour: the red row of the first page."""

    failures: int
    before: int
    """In the hour before."""
    since: datetime
    types: Sequence[tuple[str, int]]
    organizations: int
    top: FailureGroup
    top_failures: int


def listing(wanted: FailureFilter, time: TimeRange, now: datetime) -> Listing:
    """The groups that failed in this time."""
    minutes = wanted.within(time, now)
    found = list(failure_queries.by_group(minutes)[: MOST_GROUPS + 1])
    shown = found[:MOST_GROUPS]
    groups = failure_queries.groups_by_id([row["group_id"] for row in shown])
    charts = _charts(minutes.filter(group__in=groups), time)
    total = _chart(minutes, time)
    hidden = 0
    if not wanted.state:
        hidden = failure_queries.total(wanted.of_any_state(time)) - total.total
    lines = [
        GroupLine(
            group=group,
            state=state_of(group, now),
            failures=row["failures"],
            organizations=row["organizations"],
            chart=charts[group.pk],
        )
        for row in shown
        if (group := groups.get(row["group_id"])) and group.pk in charts
    ]
    return Listing(
        lines=lines, is_cut=len(found) > len(shown), chart=total, hidden=max(hidden, 0), at=now
    )


def no_listing(time: TimeRange, now: datetime) -> Listing:
    """What a filter finds that is not valid: nothing."""
    return Listing(lines=(), is_cut=False, chart=_empty(time), hidden=0, at=now)


def view(group: FailureGroup, organization_id: str, time: TimeRange, now: datetime) -> GroupView:
    """One group in this time; of one organization unless that is empty."""
    minutes = failure_queries.minutes_within(time.start, time.end).filter(group=group)
    hit = list(failure_queries.by_organization(minutes)[: MOST_ORGANIZATIONS + 1])
    count = len(hit)
    if count > MOST_ORGANIZATIONS:
        count = failure_queries.organization_count(minutes)
    chart = _chart(
        minutes.filter(organization=organization_id) if organization_id else minutes, time
    )
    tasks: list[Task] = []
    if chart.total and group.fingerprint:
        tasks = failure_queries.newest_tasks_of(
            group, organization_id, time.start, time.end, MOST_TASKS
        )
    for task in tasks:
        task.words = redacted(task.words or "")  # type: ignore[attr-defined]
    return GroupView(
        group=group,
        state=state_of(group, now),
        chart=chart,
        organizations=hit[:MOST_ORGANIZATIONS],
        organization_count=count,
        tasks=tasks,
        help=str(HELPS.get(group.code, "")),
        at=now,
    )


def no_view(group: FailureGroup, time: TimeRange, now: datetime) -> GroupView:
    """The group without any failure, for a filter that is not valid."""
    return GroupView(
        group=group,
        state=state_of(group, now),
        chart=_empty(time),
        organizations=(),
        organization_count=0,
        tasks=(),
        help=str(HELPS.get(group.code, "")),
        at=now,
    )


def alert() -> Alert | None:
    """What failed in the last hour, at most a second old; None when nothing did."""
    return _cache.get().alert


def clear_cache() -> None:
    """Make the next call read again."""
    _cache.clear()


def state_of(group: FailureGroup, now: datetime) -> str:
    """The state in force: a mute ends by itself."""
    is_over = group.muted_until is not None and group.muted_until <= now
    return "open" if group.state == "muted" and is_over else str(group.state)


def _empty(time: TimeRange) -> FailureChart:
    return FailureChart(time=time, counts=time.buckets(()))


def _chart(minutes: Minutes, time: TimeRange) -> FailureChart:
    counted = failure_queries.by_time(minutes, time.unit)
    return FailureChart(
        time=time, counts=time.buckets((row["at"], row["failures"]) for row in counted)
    )


def _charts(minutes: Minutes, time: TimeRange) -> dict[int, FailureChart]:
    of_group: dict[int, list[tuple[datetime, int]]] = {}
    for row in failure_queries.by_time(minutes, time.unit, "group_id"):
        of_group.setdefault(row["group_id"], []).append((row["at"], row["failures"]))
    return {pk: FailureChart(time=time, counts=time.buckets(some)) for pk, some in of_group.items()}


@dataclass(frozen=True)
class _AlertReading:
    """An alert or none; the cache takes None for not read yet."""

    alert: Alert | None


def _read() -> _AlertReading:
    now = timezone.now()
    recent = failure_queries.minutes_within(now - 2 * HOUR, now)
    rows = failure_queries.by_half(recent.filter(failure_queries.open_at(now)), now - HOUR)
    failing = [row for row in rows if row["failures"]]
    top = failure_queries.group_by_id(failing[0]["group_id"]) if failing else None
    if top is None:
        return _AlertReading(None)
    types = Counter[str]()
    for row in failing:
        types[row["group__type"]] += row["failures"]
    hit = recent.filter(minute__gte=now - HOUR, group__in=[row["group_id"] for row in failing])
    return _AlertReading(
        Alert(
            failures=types.total(),
            before=sum(row["before"] for row in rows),
            since=min(row["since"] for row in failing),
            types=types.most_common(),
            organizations=failure_queries.organization_count(hit),
            top=top,
            top_failures=failing[0]["failures"],
        )
    )


_cache = TimedCache(_read)
