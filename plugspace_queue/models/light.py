"""Reads rows for lists: JSON that is too large to be shown never leaves the database."""

from collections.abc import Sequence
from typing import TypeVar

from django.db.models import Case, F, JSONField, Model, QuerySet, TextField, When
from django.db.models.functions import Cast, Length

M = TypeVar("M", bound=Model)


def light(rows: QuerySet[M], names: Sequence[str], limit: int) -> QuerySet[M]:
    """Rows without those of their JSON columns `names` that are longer than `limit` characters.

    The length is the one of the database's own text. `fill` must see each row before use.
    """
    sizes = {f"{name}_size": Length(Cast(name, TextField())) for name in names}
    kept = {
        f"{name}_kept": Case(
            When(**{f"{name}_size__lte": limit}, then=F(name)), output_field=JSONField()
        )
        for name in names
    }
    read: QuerySet[M] = rows.annotate(**sizes).annotate(**kept).defer(*names)
    return read


def fill(row: Model, names: Sequence[str], limit: int) -> list[str]:
    """Put what was read into its columns; the names of what was left where it is."""
    large = [name for name in names if (getattr(row, f"{name}_size") or 0) > limit]
    for name in names:
        if name not in large:
            setattr(row, name, getattr(row, f"{name}_kept"))
    return large
