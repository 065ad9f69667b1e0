"""What an organization may submit in a month: what its tier grants, an override of it, grants.

The statement that reserves units computes the same (`db.reservations`); this is for display.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.limits.policies import Plan
from plugspace_queue.limits.quota import end_of_month, month_of
from plugspace_queue.models import Override, tenancy_queries


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """The quota of one type at one moment; UNLIMITED is -1."""

    type: str
    planned: int
    """What the tier grants."""
    override: Override | None = None
    """What takes its place."""
    grants: tuple[Override, ...] = ()

    @property
    def base(self) -> int:
        """The quota without grants."""
        return self.planned if self.override is None else self.override.value

    @property
    def granted(self) -> int:
        """What grants add."""
        return sum(grant.value for grant in self.grants)

    @property
    def quota(self) -> int:
        """The effective quota."""
        return UNLIMITED if self.base == UNLIMITED else self.base + self.granted

    @property
    def overrides(self) -> tuple[Override, ...]:
        """All that changes what the tier grants."""
        return self.grants if self.override is None else (self.override, *self.grants)

    def share(self, used: int) -> float | None:
        """How much of the quota is used, 1.0 for all; None without a limit.

        >>> Allowance(type="CODE", planned=50).share(25)
        0.5
        >>> Allowance(type="CODE", planned=0).share(0), Allowance(type="CODE", planned=-1).share(9)
        (0.0, None)
        """
        if self.quota == UNLIMITED:
            return None
        return used / self.quota if self.quota else float(bool(used))


def allowances(
    organization_id: str, plan: Plan, now: datetime, types: Iterable[str] | None = None
) -> dict[str, Allowance]:
    """The allowances of an organization of this plan by type, or of these types; one query."""
    rows = tenancy_queries.overrides_of([organization_id], now)
    return {kind: allowance(kind, plan, rows) for kind in types or public_types()}


def allowance(task_type: str, plan: Plan, rows: Sequence[Override]) -> Allowance:
    """The allowance of one type from overrides of one organization in force, newest first."""
    own = [row for row in rows if row.type == task_type]
    return Allowance(
        type=task_type,
        planned=plan.quota(task_type),
        override=next((row for row in own if row.key == OverrideKey.QUOTA), None),
        grants=tuple(row for row in own if row.key == OverrideKey.GRANT),
    )


def by_organization(rows: Iterable[Override]) -> Mapping[str, list[Override]]:
    """Overrides by the organization that they are of, in their order."""
    found: dict[str, list[Override]] = {}
    for row in rows:
        found.setdefault(row.organization_id or "", []).append(row)
    return found


def moment_of(month: str, now: datetime) -> datetime:
    """The moment at which a month is looked at: now, its last one, or its first one.

    >>> from datetime import UTC
    >>> now = datetime(2026, 3, 14, 12, tzinfo=UTC)
    >>> [moment_of(month, now).isoformat() for month in ("2026-03", "2026-02", "2026-04")]
    ['2026-03-14T12:00:00+00:00', '2026-02-28T23:59:59.999999+00:00', '2026-04-01T00:00:00+00:00']
    """
    current = month_of(now)
    if month == current:
        return now
    if month < current:
        return end_of_month(month) - timedelta(microseconds=1)
    year, number = (int(part) for part in month.split("-"))
    return now.replace(year=year, month=number, day=1, hour=0, minute=0, second=0, microsecond=0)
