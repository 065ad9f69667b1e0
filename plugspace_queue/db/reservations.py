"""Units taken from counters, with the lines of the ledger and the task that they are for.

On PostgreSQL a submit of one task is one statement, so that it is one round trip and needs no
transaction around it. SQLite takes no INSERT within another statement: three there.
"""

import functools
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connections

from plugspace_queue.db.insert import (
    insert_row,
    mark_stored,
    new_values,
    store_from,
    type_of_column,
)
from plugspace_queue.db.recordset import prepared, prepared_cursor
from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models.organization import Organization
from plugspace_queue.models.overrides import Override
from plugspace_queue.models.task import Task
from plugspace_queue.models.usage import MonthlyUsage, UsageEntry


class Charge(NamedTuple):
    """Units to be taken from one counter up to its limit, if the organization has this tier."""

    organization_id: str
    type: str
    month: str
    units: int
    limit: int
    """What the tier allows; quotas and grants in force are found by the statement itself."""
    tier: str
    """Slug; "" for none."""


class LedgerNote(NamedTuple):
    """What the ledger says of a reservation beside its units."""

    task_id: uuid.UUID | None
    note: str
    created_at: datetime


class Taken(NamedTuple):
    """A counter after units were taken."""

    organization_id: str
    type: str
    month: str
    used: int
    version: int


def reserve(
    charges: Sequence[Charge],
    line: LedgerNote,
    *,
    task: Task | None = None,
    using: str,
    is_plain: bool = False,
) -> list[Taken]:
    """Take all these units, and store the task; the counters that had room.

    Ledger and task are written only when every counter had room. Of several counters some may be
    changed although others had none: the caller rolls back. `charges` are in the order in which
    rows are locked. An organization that is suspended, or has another tier, has no room. Overrides
    of a quota and grants count that are in force at the time of `line`.

    The plain statement (PostgreSQL) looks no further when there is an override of any time: then
    the counter has no room. Without one it saves a tenth of the server's time.
    """
    if connections[using].vendor != "postgresql":
        return _reserve_in_steps(charges, line, task, using)
    asked = [value for charge in charges for value in charge]
    row = () if task is None else new_values(task)
    with prepared_cursor(connections[using]) as cursor:
        sql = _statement(len(charges), task is not None, is_plain, using)
        cursor.execute(sql, [*asked, line.created_at, *line, *row])
        taken = [Taken(*found) for found in cursor.fetchall()]
    if task is not None and taken:
        mark_stored([task], using)
    return taken


def _reserve_in_steps(
    charges: Sequence[Charge], line: LedgerNote, task: Task | None, using: str
) -> list[Taken]:
    connection = connections[using]
    with connection.cursor() as cursor:
        task_id, created_at = (
            prepared(connection, UsageEntry._meta.get_field(name), value)
            for name, value in (("task", line.task_id), ("created_at", line.created_at))
        )
        asked = [*(value for charge in charges for value in charge), created_at]
        cursor.execute(f"{_asked(len(charges), ())} {_take()}", asked)
        taken = [Taken(*found) for found in cursor.fetchall()]
        if len(taken) < len(charges):
            return taken
        cursor.execute(
            f"{_asked(len(charges), ())} {_note('%s, %s, %s', 'asked')}",
            [*asked, task_id, line.note, created_at],
        )
    if task is not None:
        insert_row(task, using=using)
    return taken


@functools.lru_cache(maxsize=256)
def _statement(count: int, has_task: bool, is_plain: bool, using: str) -> str:
    types = [
        type_of_column(MonthlyUsage, name, using) for name in ("organization", "type", "month")
    ]
    typed = (*types, "bigint", "bigint", type_of_column(Organization, "id", using))
    parts = [
        _asked(count, typed, "SELECT * FROM wanted" if is_plain else _ALLOWED),
        f"taken AS ({_take(_HAS_NONE if is_plain else '', collate=_BY_BYTES)})",
        f"fit AS (SELECT 1 FROM taken HAVING count(*) = {count})",
        f"noted AS ({_note('%s::uuid, %s, %s::timestamptz', 'asked CROSS JOIN fit')})",
    ]
    if has_task:
        parts.append(f"stored AS ({store_from('fit', using)})")
    return f"{', '.join(parts)} SELECT * FROM taken"


def _asked(count: int, types: Sequence[str], allowed: str = "") -> str:
    """The relation of the charges and of what is allowed; typed where the database needs it."""
    places = [f"%s::{name}" for name in types] or ["%s"] * len(Charge._fields)
    row = f"({', '.join(places)})"
    return f"""
        WITH wanted ({", ".join(_WANTED)}) AS (VALUES {", ".join([row] * count)}),
            moment (now) AS (VALUES (%s{"::timestamptz" if types else ""})),
            asked AS ({allowed or _ALLOWED})
    """


_WANTED = ("organization_id", "type", "month", "units", "quota", "tier")


def _in_force(key: OverrideKey, value: str, rest: str = "") -> str:
    """A value of the overrides of a key that are in force for a row of `wanted`."""
    return f"""
        (SELECT {value} FROM {Override._meta.db_table} AS override
        WHERE override.organization_id = wanted.organization_id AND override.type = wanted.type
            AND override.key = '{key}' AND override.starts_at <= moment.now
            AND (override.ends_at IS NULL OR override.ends_at > moment.now) {rest})
    """


_NEWEST = "ORDER BY override.id DESC LIMIT 1"

# The same as `limits.allowances`, which shows it. A sum has no largest value, a column has one.
_ALLOWED = f"""
    SELECT organization_id, type, month, units, tier,
        CASE WHEN base = {UNLIMITED} THEN base ELSE base + granted END AS quota
    FROM (
        SELECT wanted.organization_id, wanted.type, month, units, tier,
            COALESCE({_in_force(OverrideKey.QUOTA, "value", _NEWEST)}, quota)
                AS base,
            COALESCE({_in_force(OverrideKey.GRANT, "SUM(value)")}, 0) AS granted
        FROM wanted CROSS JOIN moment
    ) AS summed
"""


_HAS_NONE = f"""
    AND NOT EXISTS (
        SELECT FROM {Override._meta.db_table} AS override
        WHERE override.organization_id = asked.organization_id AND override.type = asked.type
    )
"""

# A database may sort by the rules of a language; SQLite does not, and knows no "C".
_BY_BYTES = ' COLLATE "C"'


def _take(condition: str = "", collate: str = "") -> str:
    """The statement that takes units, counter by counter in Python's order of their names."""
    return _TAKE.format(condition=condition, collate=collate)


# A limit that not even the first row keeps is seen by the first WHERE, later ones by the second.
_TAKE = f"""
    INSERT INTO {MonthlyUsage._meta.db_table} AS counter
        (organization_id, type, month, used, version)
    SELECT asked.organization_id, asked.type, asked.month, asked.units, 1
    FROM asked JOIN {Organization._meta.db_table} AS organization
        ON organization.id = asked.organization_id
    WHERE NOT organization.is_suspended AND COALESCE(organization.tier_id, '') = asked.tier
        AND (asked.quota = {UNLIMITED} OR asked.units <= asked.quota) {{condition}}
    ORDER BY asked.organization_id{{collate}}, asked.type{{collate}}, asked.month
    ON CONFLICT (organization_id, type, month) DO UPDATE
    SET used = counter.used + excluded.used, version = counter.version + 1
    WHERE EXISTS (
        SELECT 1 FROM asked
        WHERE asked.organization_id = counter.organization_id AND asked.type = counter.type
            AND asked.month = counter.month
            AND (asked.quota = {UNLIMITED} OR counter.used + excluded.used <= asked.quota)
    )
    RETURNING organization_id, type, month, used, version
"""


def _note(places: str, source: str) -> str:
    """The statement that writes a line of the ledger for each counter."""
    return f"""
        INSERT INTO {UsageEntry._meta.db_table}
            (organization_id, type, month, units, reason, tokens, cost, task_id, note, created_at)
        SELECT asked.organization_id, asked.type, asked.month, asked.units, 'reserve', 0, 0,
            {places}
        FROM {source}
    """
