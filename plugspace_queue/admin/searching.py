"""Searches by columns that are quick to read within one organization only."""

import re
from typing import TypeVar

from django.contrib import messages
from django.db.models import Model, QuerySet
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
