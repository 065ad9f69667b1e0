"""Takes units from counters in one statement, with their lines in the ledger and a task's row.

On PostgreSQL everything is one statement, so that a submit is one round trip and needs no
transaction around it. SQLite takes no INSERT within another statement: three there.
"""

import functools
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connections, models

from plugspace_queue.db.insert import bound, insert_row, mark_stored, type_name
from plugspace_queue.db.recordset import prepared, prepared_cursor
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models.organization import Organization
from plugspace_queue.models.task import Task
from plugspace_queue.models.usage import MonthlyUsage, UsageEntry


class Charge(NamedTuple):
    """Units to be taken from one counter up to its limit, if the organization has this tier."""

    organization_id: str
    type: str
    month: str
    units: int
    limit: int
    tier: str
    """Slug; "" for none."""


class Line(NamedTuple):
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
    charges: Sequence[Charge], line: Line, *, task: Task | None = None, using: str
) -> list[Taken]:
    """Take all these units, and store the task; the counters that had room.

    Ledger and task are written only when every counter had room. Of several counters some may be
    changed although others had none: the caller rolls back. `charges` are in the order in which
    rows are locked. An organization that is suspended, or has another tier, has no room.
    """
    if connections[using].vendor != "postgresql":
        return _reserve_in_steps(charges, line, task, using)
    asked = [value for charge in charges for value in charge]
    row = () if task is None else bound(task)
    with prepared_cursor(connections[using]) as cursor:
        sql = _statement(len(charges), task is not None, using)
        cursor.execute(sql, [*asked, *line, *row])
        taken = [Taken(*found) for found in cursor.fetchall()]
    if task is not None and taken:
        mark_stored([task], using)
    return taken


def _reserve_in_steps(
    charges: Sequence[Charge], line: Line, task: Task | None, using: str
) -> list[Taken]:
    connection = connections[using]
    with connection.cursor() as cursor:
        asked = [value for charge in charges for value in charge]
        cursor.execute(f"{_asked(len(charges), ())} {_TAKE}", asked)
        taken = [Taken(*found) for found in cursor.fetchall()]
        if len(taken) < len(charges):
            return taken
        task_id, created_at = (
            prepared(connection, UsageEntry._meta.get_field(name), value)
            for name, value in (("task", line.task_id), ("created_at", line.created_at))
        )
        cursor.execute(
            f"{_asked(len(charges), ())} {_note('%s, %s, %s', 'asked')}",
            [*asked, task_id, line.note, created_at],
        )
    if task is not None:
        insert_row(task, using=using)
    return taken


@functools.cache
def _statement(count: int, has_task: bool, using: str) -> str:
    types = [_type(MonthlyUsage, name, using) for name in ("organization", "type", "month")]
    parts = [
        _asked(count, (*types, "bigint", "bigint", _type(Organization, "id", using))),
        f"taken AS ({_TAKE})",
        f"fit AS (SELECT 1 FROM taken HAVING count(*) = {count})",
        f"noted AS ({_note('%s::uuid, %s, %s::timestamptz', 'asked CROSS JOIN fit')})",
    ]
    if has_task:
        parts.append(f"stored AS ({_store(using)})")
    return f"{', '.join(parts)} SELECT * FROM taken"


def _asked(count: int, types: Sequence[str]) -> str:
    """The relation of what is asked for; typed where the database needs it."""
    places = [f"%s::{name}" for name in types] or ["%s"] * len(Charge._fields)
    row = f"({', '.join(places)})"
    return f"WITH asked ({', '.join(_ASKED)}) AS (VALUES {', '.join([row] * count)})"


_ASKED = ("organization_id", "type", "month", "units", "quota", "tier")

# A limit that not even the first row keeps is seen by the first WHERE, later ones by the second.
_TAKE = f"""
    INSERT INTO {MonthlyUsage._meta.db_table} AS counter
        (organization_id, type, month, used, version)
    SELECT asked.organization_id, asked.type, asked.month, asked.units, 1
    FROM asked JOIN {Organization._meta.db_table} AS organization
        ON organization.id = asked.organization_id
    WHERE NOT organization.is_suspended AND COALESCE(organization.tier_id, '') = asked.tier
        AND (asked.quota = {UNLIMITED} OR asked.units <= asked.quota)
    ORDER BY asked.organization_id, asked.type, asked.month
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


def _store(using: str) -> str:
    """The statement that stores the task."""
    fields = Task._meta.concrete_fields
    columns = ", ".join(str(field.column) for field in fields)
    places = ", ".join(f"%s::{type_name(field, using)}" for field in fields)
    return f"INSERT INTO {Task._meta.db_table} ({columns}) SELECT {places} FROM fit"


def _type(model: type[models.Model], name: str, using: str) -> str:
    return type_name(model._meta.get_field(name), using)
