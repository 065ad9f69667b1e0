"""New rows of submits: units taken from counters, lines of the ledger, tasks.

On PostgreSQL a submit of one task is one statement, so that it is one round trip and needs no
transaction around it. SQLite takes no INSERT within another statement: three there. Many tasks go
by COPY where the database has it. Signals are not sent, as with bulk_create.
"""

import functools
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models

from plugspace_queue.db.recordset import prepared, prepared_cursor, type_of
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.models.organization import Organization
from plugspace_queue.models.overrides import Override
from plugspace_queue.models.task import Task
from plugspace_queue.models.usage import MonthlyUsage, UsageEntry

Model = TypeVar("Model", bound=models.Model)

NEW_COLUMNS = (
    "id",
    "type",
    "organization_id",
    "project_id",
    "user_id",
    "priority",
    "state",
    "queued_at",
    "wake_at",
    "deadline",
    "ttl",
    "max_retries",
    "open_deps",
    "charged_month",
    "input",
    "context",
)
"""What a submit of one task decides; every other column has its default then. JSON comes last."""


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
    row = () if task is None else _new_values(task)
    with prepared_cursor(connections[using]) as cursor:
        sql = _statement(len(charges), task is not None, is_plain, using)
        cursor.execute(sql, [*asked, line.created_at, *line, *row])
        taken = [Taken(*found) for found in cursor.fetchall()]
    if task is not None and taken:
        _mark_stored([task], using)
    return taken


def unsaved(model: type[Model], **columns: Any) -> Model:
    """An unsaved row; columns that are not given have their defaults.

    As `model(**columns)`, in a third of the time: by place instead of by name.
    """
    places, defaults = _blank(model)
    values = list(defaults)
    for name, value in columns.items():
        values[places[name]] = value
    return model(*values)


def insert_row(row: models.Model, *, using: str) -> None:
    """Store an unsaved row; IntegrityError as usual. An automatic id stays unknown."""
    with connections[using].cursor() as cursor:
        cursor.execute(_insert(type(row), using), _prepared(row, using))
    _mark_stored([row], using)


def insert_tasks(tasks: Sequence[Task], *, using: str) -> None:
    """Store unsaved tasks in the caller's transaction; IntegrityError as usual."""
    if connections[using].vendor == "postgresql":
        _copy(tasks, using)
    else:
        with connections[using].cursor() as cursor:
            cursor.executemany(_insert(Task, using), [_prepared(task, using) for task in tasks])
    _mark_stored(tasks, using)


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
    types = [_type(MonthlyUsage, name, using) for name in ("organization", "type", "month")]
    typed = (*types, "bigint", "bigint", _type(Organization, "id", using))
    parts = [
        _asked(count, typed, "SELECT * FROM wanted" if is_plain else _ALLOWED),
        f"taken AS ({_take(_HAS_NONE if is_plain else '', collate=_BY_BYTES)})",
        f"fit AS (SELECT 1 FROM taken HAVING count(*) = {count})",
        f"noted AS ({_note('%s::uuid, %s, %s::timestamptz', 'asked CROSS JOIN fit')})",
    ]
    if has_task:
        parts.append(f"stored AS ({_store(using)})")
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


def _store(using: str) -> str:
    """The statement that stores the task."""
    places, defaults = _blank(Task)
    fields = {field.attname: field for field in Task._meta.concrete_fields}
    values = dict.fromkeys(NEW_COLUMNS, "%s")
    for name, at in places.items():
        values.setdefault(name, "NULL" if defaults[at] is None else f"'{defaults[at]}'")
    typed = [f"{value}::{_type_name(fields[name], using)}" for name, value in values.items()]
    columns = ", ".join(str(fields[name].column) for name in values)
    return f"INSERT INTO {Task._meta.db_table} ({columns}) SELECT {', '.join(typed)} FROM fit"


_read_new = attrgetter(*NEW_COLUMNS)


def _new_values(task: Task) -> list[Any]:
    *plain, given, context = _read_new(task)
    return [*plain, json_text.encode(given), json_text.encode(context)]


def _type(model: type[models.Model], name: str, using: str) -> str:
    return _type_name(model._meta.get_field(name), using)


def _copy(tasks: Sequence[Task], using: str) -> None:
    table, columns = _names(Task, using)
    with (
        connections[using].cursor() as cursor,
        cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as lines,
    ):
        for task in tasks:
            lines.write_row(_bound(task))


def _bound(row: models.Model) -> list[Any]:
    """The values of all columns as psycopg takes them: as they are, JSON as text."""
    values_of, encoded = _reader(type(row))
    values = list(values_of(row))
    for at in encoded:
        values[at] = None if values[at] is None else json_text.encode(values[at])
    return values


def _prepared(row: models.Model, using: str) -> list[Any]:
    connection, fields = connections[using], _fields(type(row))
    return [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]


def _mark_stored(rows: Sequence[models.Model], using: str) -> None:
    for row in rows:
        row._state.adding, row._state.db = False, using


@functools.cache
def _blank(model: type[models.Model]) -> tuple[dict[str, int], list[Any]]:
    """The position of each column in the model's arguments, and the defaults of all columns."""
    fields = model._meta.concrete_fields
    places = {field.attname: at for at, field in enumerate(fields)}
    # Columns with a callable default are always given by the callers.
    is_made = [field.has_default() and callable(field.default) for field in fields]
    pairs = zip(fields, is_made, strict=True)
    return places, [None if made else field.get_default() for field, made in pairs]


@functools.cache
def _fields(model: type[models.Model]) -> list[Any]:
    every = model._meta.concrete_fields
    return [field for field in every if not isinstance(field, models.AutoField)]


@functools.cache
def _reader(model: type[models.Model]) -> tuple[Callable[[models.Model], Iterable[Any]], list[int]]:
    """How all columns are read at once, and which of them hold JSON."""
    fields = _fields(model)
    encoded = [at for at, field in enumerate(fields) if isinstance(field, models.JSONField)]
    return attrgetter(*(field.attname for field in fields)), encoded


@functools.cache
def _names(model: type[models.Model], using: str) -> tuple[str, str]:
    """The table and its columns, quoted, without an automatic id."""
    quoted = connections[using].ops.quote_name
    columns = ", ".join(quoted(str(field.column)) for field in _fields(model))
    return quoted(model._meta.db_table), columns


@functools.cache
def _insert(model: type[models.Model], using: str) -> str:
    table, columns = _names(model, using)
    return f"INSERT INTO {table} ({columns}) VALUES ({_places(model)})"


def _places(model: type[models.Model]) -> str:
    return ", ".join(["%s"] * len(_fields(model)))


def _type_name(field: Any, using: str) -> str:
    # Without its length: a cast would cut the value, the column refuses it.
    return type_of(field, using).partition("(")[0]
