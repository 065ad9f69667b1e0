"""Searches by columns that are quick to read within one organization only."""

import re
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from django.contrib import messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

M = TypeVar("M", bound=Model)

WITHIN = re.compile(r"(.+?)\s+org:(\S+)")


def within(
    request: HttpRequest, rows: QuerySet[M], field: str, term: str, form: str
) -> QuerySet[M]:
    """Rows of one organization for `value org:ID`; without it none, and a sentence says so."""
    found = WITHIN.fullmatch(term)
    if found is None:
        messages.warning(request, f"Say where: {form}. Else every row would be read.")
        return rows.none()
    value, organization_id = found.groups()
    return rows.filter(organization_id=organization_id, **{field: value})


def organization_of(term: str) -> str:
    """The ID of `value org:ID`; "" when it names none."""
    found = WITHIN.fullmatch(term)
    return found[2] if found else ""


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
