"""Monthly quotas: reserve at acceptance, refund what never ran; every change is a ledger entry.

Both run in the caller's transaction, so a rollback gives everything back. Tasks are locked
before usage rows, and usage rows in the order (organization, type, month).
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from django.db import connections, router, transaction

from plugspace_queue.broker import routing, task_store
from plugspace_queue.broker.scripts import Call
from plugspace_queue.db.insert import insert_if, insert_row
from plugspace_queue.domain.tiers import UNLIMITED, admits
from plugspace_queue.errors import QuotaExceeded
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry

_TABLE = MonthlyUsage._meta.db_table

# One statement, the same on PostgreSQL and SQLite: nobody gets between the look and the count.
_RESERVE = f"""
    INSERT INTO {_TABLE} AS usage (organization_id, type, month, used, version)
    VALUES (%s, %s, %s, %s, 1)
    ON CONFLICT (organization_id, type, month) DO UPDATE
    SET used = usage.used + excluded.used, version = usage.version + 1
    WHERE %s OR usage.used + excluded.used <= %s
    RETURNING used, version
"""
_REFUND = f"""
    UPDATE {_TABLE}
    SET used = CASE WHEN used > %s THEN used - %s ELSE 0 END, version = version + 1
    WHERE organization_id = %s AND type = %s AND month = %s
    RETURNING used, version
"""


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


class Reservation(NamedTuple):
    """The month units were taken from, and the counters as they are now."""

    month: str
    counters: list[Counter]


def month_of(now: datetime) -> str:
    """The month a moment counts for.

    >>> month_of(datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
    '2026-03'
    """
    return f"{now.astimezone(UTC):%Y-%m}"


def end_of_month(month: str) -> datetime:
    """When the next month begins.

    >>> end_of_month("2026-12").isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    year, number = (int(part) for part in month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def reserve(
    organization_id: str,
    units: Mapping[str, int],
    quotas: Mapping[str, int],
    now: datetime,
    *,
    task_id: uuid.UUID | None = None,
    note: str = "",
) -> Reservation:
    """Take units per type from this month's quotas, all or none.

    `quotas` are tasks per month and type. Raises QuotaExceeded naming the type that lacks units.
    The caller has Redis hear of `counters` after the commit (`mirrored`).
    """
    month = month_of(now)
    wanted = {
        Account(organization_id, str(kind), month): count for kind, count in sorted(units.items())
    }
    reason = UsageEntry.Reason.RESERVE
    with transaction.atomic(using=_alias(), savepoint=False):
        counters = [_take(a, count, quotas.get(a.type, 0)) for a, count in wanted.items()]
        _store([_entry(a, reason, count, now, note, task_id) for a, count in wanted.items()])
    return Reservation(month, counters)


def charge(task: Task, quota: int, now: datetime) -> list[Counter]:
    """Store a new task and take its unit from this month's quota, both or neither.

    By one statement where the database can, which needs no transaction around it then
    (`is_one_statement`); elsewhere in the caller's. Raises QuotaExceeded.
    """
    account = Account(task.organization_id, task.type, month_of(now))
    task.charged_month = account.month
    entry = _entry(account, UsageEntry.Reason.RESERVE, 1, now, "", task.pk)
    if is_one_statement():
        return [_take(account, 1, quota, [entry, task])]
    counter = _take(account, 1, quota)
    for row in (entry, task):
        insert_row(row, using=_alias())
    return [counter]


def is_one_statement() -> bool:
    """Whether `charge` is: SQLite takes no INSERT within another statement."""
    return connections[_alias()].vendor == "postgresql"


def refund(tasks: Iterable[Task], now: datetime, note: str) -> int:
    """Give back the units of these tasks, each at most once; how many were given back."""
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
    """A ledger line for a run that staff gave away."""
    account = Account(task.organization_id, task.type, month_of(now))
    _store([_entry(account, UsageEntry.Reason.RESERVE, 0, now, reason, task.pk)])


def _take(
    account: Account, wanted: int, quota: int, stored: Sequence[Task | UsageEntry] = ()
) -> Counter:
    """Count up, and store these rows with it; neither when the quota does not allow it."""
    # The statement's WHERE does not see a first row; a single call above the quota is refused here.
    if not admits(0, quota, wanted):
        raise _exceeded(account, wanted, quota)
    params: list[str | int] = [*account, wanted, quota == UNLIMITED, quota]
    row = (
        insert_if(_RESERVE, params, stored, using=_alias())
        if stored
        else _returned(_RESERVE, params)
    )
    if row is None:
        raise _exceeded(account, wanted, quota)
    return Counter(account, *row)


def _give_back(account: Account, count: int) -> Counter:
    return Counter(account, *(_returned(_REFUND, [count, count, *account]) or (0, 0)))


def _returned(sql: str, params: Sequence[str | int]) -> tuple[int, int] | None:
    with connections[_alias()].cursor() as cursor:
        cursor.execute(sql, params)
        row: tuple[int, int] | None = cursor.fetchone()
        return row


def mirrored(counters: Iterable[Counter]) -> list[Call[bool]]:
    """The calls that write these counts to Redis, unless a newer one is there."""
    return [task_store.mirror_usage(entry.account, entry.used, entry.version) for entry in counters]


def mirror_on_commit(counters: Sequence[Counter]) -> None:
    """Redis hears of the new counts once they are true."""
    if counters:
        calls = mirrored(counters)
        transaction.on_commit(lambda: routing.tell(calls), using=_alias(), robust=True)


def _exceeded(account: Account, wanted: int, quota: int) -> QuotaExceeded:
    used = _used(account)
    end = end_of_month(account.month)
    return QuotaExceeded(
        f"The monthly quota for {account.type} does not allow {wanted} more: {used} of {quota} are"
        f" used in {account.month}. It is renewed on {end:%Y-%m-%d} (UTC).",
        type=account.type,
        wanted=wanted,
        used=used,
        limit=quota,
        period_end=end.isoformat(),
    )


def _used(account: Account) -> int:
    rows = MonthlyUsage.objects.filter(**account._asdict())
    return rows.values_list("used", flat=True).first() or 0


def _account_of(task: Task) -> Account:
    return Account(task.organization_id, task.type, task.charged_month)


def _mark_refunded(account: Account, tasks: Sequence[Task], now: datetime) -> int:
    rows = Task.objects.filter(pk__in=[task.pk for task in tasks])
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
