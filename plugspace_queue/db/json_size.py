"""Reads rows for lists without JSON that is too large to be shown."""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import Case, F, Func, IntegerField, JSONField, Model, QuerySet, When

M = TypeVar("M", bound=Model)


class LeastSize(Func):
    """A lower bound of the bytes of a JSON column as text in UTF-8, including blanks.

    More than it is only for numbers like 1e300, which PostgreSQL writes out.
    """

    template = "OCTET_LENGTH((%(expressions)s)::text)"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # Django's text is ASCII there: six characters, `\u00fc`, for at least two bytes.
        unmarked = r"LENGTH(REPLACE(%(expressions)s, '\u', ''))"
        template = f"(2 * {unmarked} - LENGTH(%(expressions)s))"
        return self.as_sql(compiler, connection, template=template, **context)


def defer_large_json(rows: QuerySet[M], names: Sequence[str], limit: int) -> QuerySet[M]:
    """Rows without those JSON columns of `names` that are certainly larger than `limit` bytes.

    `load_small_json` must see each row before use.
    """
    sizes = {f"{name}_size": LeastSize(F(name)) for name in names}
    kept = {
        f"{name}_kept": Case(
            When(**{f"{name}_size__lte": _with_blanks(limit)}, then=F(name)),
            output_field=JSONField(),
        )
        for name in names
    }
    read: QuerySet[M] = rows.annotate(**sizes).annotate(**kept).defer(*names)
    return read


def load_small_json(row: Model, names: Sequence[str], limit: int) -> list[str]:
    """Put the read values into their columns; return the names of the columns that were not read.

    What was read may still be a little larger than `limit`.
    """
    most = _with_blanks(limit)
    left = [name for name in names if (getattr(row, f"{name}_size") or 0) > most]
    for name in names:
        if name not in left:
            setattr(row, name, getattr(row, f"{name}_kept"))
    return left


def _with_blanks(limit: int) -> int:
    """Databases put a blank behind each separator: at most `1, 1, 1` for `1,1,1`."""
    return limit * 3 // 2
