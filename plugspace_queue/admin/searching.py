"""Searches by columns that are quick to read within one organization only."""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from django.contrib import messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

M = TypeVar("M", bound=Model)


def within(
    request: HttpRequest, rows: QuerySet[M], field: str, term: str, form: str
) -> QuerySet[M]:
    """Rows of one organization for `value org:ID`; without it none, and a sentence says so."""
    value, organization_id = _apart(term)
    if not organization_id:
        messages.warning(request, f"Say where: {form}. Else every row would be read.")
        return rows.none()
    return rows.filter(organization_id=organization_id, **{field: value})


def organization_of(term: str) -> str:
    """The ID of `value org:ID`; "" when it names none."""
    return _apart(term)[1]


def _apart(term: str) -> tuple[str, str]:
    """Value and organization of `value org:ID`; two empty texts when it is not that."""
    parts = term.rsplit(maxsplit=1)
    named = parts[-1].removeprefix("org:") if len(parts) == 2 else ""
    return (parts[0], named) if named and named != parts[1] else ("", "")


class ExactSearchMixin:
    """A search that an index answers: the whole word in one of `search_fields`, as written."""

    search_fields: ClassVar[Sequence[str]]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        pairs = [(field, term) for field in self.search_fields]
        return queryset.filter(Q(*pairs, _connector=Q.OR)), False
