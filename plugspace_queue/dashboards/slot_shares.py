"""Who holds the slots and who waits: shares of running and waiting tasks by tier, organization."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from plugspace_queue.dashboards.cache import TimedCache
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import task_queries
from plugspace_queue.models.querysets import HolderCount

MOST_ORGANIZATIONS = 10

MOST_WAITING = 20_000
"""Waiting tasks that are counted, the oldest ones: a count of all would read a million rows."""


@dataclass(frozen=True, kw_only=True)
class SlotShare:
    """The running and waiting tasks of one tier or organization."""

    name: str
    """Empty: without a tier, or all further organizations."""
    tier: str
    running: int
    running_percent: int
    waiting: int
    waiting_percent: int

    @property
    def is_short(self) -> bool:
        """Whether its share of what runs is less than half of its share of what waits."""
        return self.waiting > 0 and self.running_percent * 2 < self.waiting_percent


@dataclass(frozen=True, kw_only=True)
class SlotsView:
    """Of all queues, or of one."""

    running: int
    waiting: int
    is_cut: bool
    """Whether more tasks wait than were counted."""
    tiers: Sequence[SlotShare]
    organizations: Sequence[SlotShare]
    others: SlotShare | None
    """All organizations besides the first ten."""
    other_count: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class _Holders:
    running: Sequence[HolderCount]
    waiting: Sequence[HolderCount]
    at: datetime


def slots_view(task_type: TaskType | None) -> SlotsView:
    """Who holds and who waits, at most a second old; two queries."""
    found = _cache.get()
    running = [one for one in found.running if task_type in (None, one.type)]
    waiting = [one for one in found.waiting if task_type in (None, one.type)]
    tier_of = {one.organization_id: one.tier for one in (*waiting, *running)}
    tiers, _, _ = _shares(running, waiting, lambda one: one.tier, lambda name: name)
    shown, others, other_count = _shares(
        running,
        waiting,
        lambda one: one.organization_id,
        lambda name: tier_of[name],
        MOST_ORGANIZATIONS,
    )
    return SlotsView(
        running=sum(one.number for one in running),
        waiting=sum(one.number for one in waiting),
        is_cut=sum(one.number for one in found.waiting) >= MOST_WAITING,
        tiers=tiers,
        organizations=shown,
        others=others,
        other_count=other_count,
        at=found.at,
    )


def clear_cache() -> None:
    """Make the next call read again."""
    _cache.clear()


def _shares(
    running: Iterable[HolderCount],
    waiting: Iterable[HolderCount],
    name_of: Callable[[HolderCount], str],
    tier_of: Callable[[str], str],
    most: int | None = None,
) -> tuple[list[SlotShare], SlotShare | None, int]:
    """Most running first, then most waiting; all after the first `most` in one, and how many."""
    runs, waits = Counter[str](), Counter[str]()
    for counts, holdings in ((runs, running), (waits, waiting)):
        for one in holdings:
            counts[name_of(one)] += one.number

    def share(name: str, tier: str, names: Sequence[str]) -> SlotShare:
        runs_here, waits_here = (sum(counts[one] for one in names) for counts in (runs, waits))
        return SlotShare(
            name=name,
            tier=tier,
            running=runs_here,
            running_percent=_percent(runs_here, runs.total()),
            waiting=waits_here,
            waiting_percent=_percent(waits_here, waits.total()),
        )

    order = sorted(runs.keys() | waits.keys(), key=lambda one: (-runs[one], -waits[one], one))
    shown, rest = order[:most], order[most:] if most is not None else []
    shares = [share(name, tier_of(name), [name]) for name in shown]
    return shares, share("", "", rest) if rest else None, len(rest)


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole) if whole else 0


def _read() -> _Holders:
    return _Holders(
        running=task_queries.running_by_holder(),
        waiting=task_queries.waiting_by_holder(MOST_WAITING),
        at=timezone.now(),
    )


_cache = TimedCache(_read)
