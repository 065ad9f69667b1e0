"""Monthly quotas: reserved at acceptance, refunded for tasks that never ran; each with an entry.

Both run in the caller's transaction, so a rollback gives everything back. Tasks are locked
before usage rows, and usage rows in the order (organization, type, month).
"""

import uuid
from collections import Counter as CountsOf
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from django.db import connections, router, transaction
from django.utils.translation import gettext as _

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.db import reservations
from plugspace_queue.db.insert import insert_row
from plugspace_queue.db.reservations import Charge, LedgerNote, Taken
from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.domain.task_types import DECLARED
from plugspace_queue.domain.tiers import LARGEST_QUOTA
from plugspace_queue.errors import QuotaExceeded, Unavailable
from plugspace_queue.limits import policies
from plugspace_queue.limits.policies import OrganizationPlan
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry, task_queries, tenancy_queries
from plugspace_queue.models.tenancy_queries import Standing

_TABLE = MonthlyUsage._meta.db_table

_REFUND = f"""
    UPDATE {_TABLE}
    SET used = CASE WHEN used > %s THEN used - %s ELSE 0 END, version = version + 1
    WHERE organization_id = %s AND type = %s AND month = %s
    RETURNING used, version
"""


AT_ONCE = 100
"""Most counters of one statement, whose time grows with the square of their number."""

MOST_KNOWN = 10_000
"""Most counters that are remembered to have overrides."""

_overridden: set[tuple[str, str]] = set()
"""Organizations and types that had an override: the plain statement would not do for them."""


class Account(NamedTuple):
    """What one counter counts: an organization's tasks of a type in a month (YYYY-MM, UTC)."""

    organization_id: str
    type: str
    month: str


class Counter(NamedTuple):
    """A counter's value; the version rises with every change."""

    account: Account
    used: int
    version: int


def month_of(now: datetime) -> str:
    """The month a moment counts for.

    >>> month_of(datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
    '2026-03'
    """
    moment = now.astimezone(UTC)
    return f"{moment.year:04d}-{moment.month:02d}"


def end_of_month(month: str) -> datetime:
    """When the next month begins.

    >>> end_of_month("2026-12").isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    year, number = (int(part) for part in month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def is_charged(task: Task) -> bool:
    """Whether a task counts in quotas: internal types and work without a tenant do not."""
    kind = DECLARED.get(task.type)
    return not (kind is not None and kind.is_internal) and task.organization_id != SYSTEM


def charges_of(
    tasks: Iterable[Task], tenants: Mapping[str, OrganizationPlan], month: str
) -> list[Charge]:
    """The units that tasks need of a month's quotas, in the order in which rows are locked.

    `tenants` holds the organization of each task by its id.
    """
    units = CountsOf((task.organization_id, task.type) for task in tasks if is_charged(task))
    found = []
    for (organization_id, task_type), count in sorted(units.items()):
        tenant = tenants[organization_id]
        # A row that was not validated may say more than a database can compare.
        limit = min(tenant.plan.quota(task_type), LARGEST_QUOTA)
        found.append(Charge(organization_id, task_type, month, count, limit, tenant.tier))
    return found


def reserve(
    charges: Sequence[Charge],
    now: datetime,
    *,
    task: Task | None = None,
    task_id: uuid.UUID | None = None,
    note: str = "",
) -> list[Counter]:
    """Take these units, all or none, and store `task` with them when one is given; none: nothing.

    One charge needs no transaction around it where that is one statement (`is_one_statement`);
    several do. Raises QuotaExceeded with what the first lacking counter has; TierChanged,
    OrganizationSuspended or OrganizationUnknown when the tenant is not what it was taken for.
    The caller writes the counters to Redis after the commit (`mirrored`).
    """
    if not charges:
        return []
    line = LedgerNote(task.pk if task else task_id, note[:200], now)
    found: list[Counter] = []
    for start in range(0, len(charges), AT_ONCE):
        asked = charges[start : start + AT_ONCE]
        taken = _taken_plainly(asked, line, task) or _taken(asked, line, task)
        found += [Counter(Account(*row[:3]), row.used, row.version) for row in taken]
    return found


def _taken_plainly(asked: Sequence[Charge], line: LedgerNote, task: Task | None) -> list[Taken]:
    """The counter after the plain statement; nothing where overrides have to be looked at."""
    # Of several counters some would be changed already when another one has an override.
    if len(asked) > 1 or asked[0][:2] in _overridden or not is_one_statement():
        return []
    taken = reservations.reserve(asked, line, task=task, using=_alias(), is_plain=True)
    if not taken:
        standing = _standing(asked[0], line.created_at)
        if not standing.is_overridden:
            raise _refusal(asked[0], standing)
        if len(_overridden) >= MOST_KNOWN:
            _overridden.clear()
        _overridden.add(asked[0][:2])
    return taken


def _taken(asked: Sequence[Charge], line: LedgerNote, task: Task | None) -> list[Taken]:
    """The counters; raises when one had no room."""
    taken = reservations.reserve(asked, line, task=task, using=_alias())
    if len(taken) < len(asked):
        has_room = {row[:3] for row in taken}
        lacking = next(charge for charge in asked if charge[:3] not in has_room)
        raise _refusal(lacking, _standing(lacking, line.created_at))
    return taken


class TierChanged(Unavailable):
    """The organization got another tier at this moment; try again."""


def is_one_statement() -> bool:
    """Whether `reserve` of one charge is one statement; SQLite has no INSERT within another one."""
    return connections[_alias()].vendor == "postgresql"


def refund(tasks: Iterable[Task], now: datetime, note: str) -> int:
    """Refund the units of these tasks, each at most once; return how many were refunded."""
    charged = sorted((task for task in tasks if task.charged_month), key=_account_of)
    reason = UsageEntry.Reason.REFUND
    with transaction.atomic(using=_alias(), savepoint=False):
        marked = {
            a: _mark_refunded(a, list(group), now) for a, group in groupby(charged, _account_of)
        }
        returned = {account: count for account, count in marked.items() if count}
        counters = [_give_back(account, count) for account, count in returned.items()]
        _store([_entry(a, reason, -count, now, note, None) for a, count in returned.items()])
        mirror_on_commit(counters)
    return sum(returned.values())


def note_free_run(task: Task, now: datetime, reason: str) -> None:
    """Write a ledger entry for a free run granted by staff."""
    account = Account(task.organization_id, task.type, month_of(now))
    _store([_entry(account, UsageEntry.Reason.RESERVE, 0, now, reason, task.pk)])


def _give_back(account: Account, count: int) -> Counter:
    return Counter(account, *(_returned(_REFUND, [count, count, *account]) or (0, 0)))


def _returned(sql: str, params: Sequence[str | int]) -> tuple[int, int] | None:
    with connections[_alias()].cursor() as cursor:
        cursor.execute(sql, params)
        row: tuple[int, int] | None = cursor.fetchone()
        return row


def mirrored(counters: Iterable[Counter]) -> list[Call[bool]]:
    """The calls that write these counts to Redis, unless a newer one is stored."""
    return [task_store.mirror_usage(entry.account, entry.used, entry.version) for entry in counters]


def mirror_on_commit(counters: Sequence[Counter]) -> None:
    """Write the new counts to Redis on commit."""
    if counters:
        calls = mirrored(counters)
        transaction.on_commit(lambda: routing.send(calls), using=_alias(), robust=True)


def _standing(charge: Charge, now: datetime) -> Standing:
    """The counter that had no room; raises when its organization is not what it was taken for."""
    if policies.read_tenant(charge.organization_id).tier != charge.tier:
        raise TierChanged
    return tenancy_queries.standing_of(charge.organization_id, charge.type, charge.month, now)


def _refusal(charge: Charge, standing: Standing) -> QuotaExceeded:
    """Why a counter had no room; names the effective quota."""
    account, wanted, used = Account(*charge[:3]), charge.units, standing.used
    base = charge.limit if standing.override is None else standing.override
    quota, end = base + standing.granted, end_of_month(account.month)
    message = (
        _(
            "The monthly quota for %(type)s does not allow %(wanted)d more: %(used)d of %(quota)d"
            " (%(granted)d of them granted) are used in %(month)s. It is renewed on %(end)s (UTC)."
        )
        if standing.granted
        else _(
            "The monthly quota for %(type)s does not allow %(wanted)d more: %(used)d of %(quota)d"
            " are used in %(month)s. It is renewed on %(end)s (UTC)."
        )
    )
    refusal = QuotaExceeded(
        message
        % {
            "type": account.type,
            "wanted": wanted,
            "used": used,
            "quota": quota,
            "granted": standing.granted,
            "month": account.month,
            "end": f"{end:%Y-%m-%d}",
        },
        type=account.type,
        wanted=wanted,
        used=used,
        limit=quota,
        granted=standing.granted or None,
        period_end=end.isoformat(),
    )
    refusal.organization_id = account.organization_id
    return refusal


def _account_of(task: Task) -> Account:
    return Account(task.organization_id, task.type, task.charged_month)


def _mark_refunded(account: Account, tasks: Sequence[Task], now: datetime) -> int:
    rows = task_queries.tasks_by_id(task.pk for task in tasks)
    return rows.filter(charged_month=account.month, refunded_at__isnull=True).update(
        refunded_at=now
    )


def _entry(
    account: Account, reason: str, units: int, now: datetime, note: str, task_id: uuid.UUID | None
) -> UsageEntry:
    return UsageEntry(
        **account._asdict(),
        reason=reason,
        units=units,
        note=note[:200],
        task_id=task_id,
        created_at=now,
    )


def _store(entries: Sequence[UsageEntry]) -> None:
    if len(entries) == 1:
        insert_row(entries[0], using=_alias())
    else:
        UsageEntry.objects.bulk_create(entries)


def _alias() -> str:
    return router.db_for_write(MonthlyUsage)
