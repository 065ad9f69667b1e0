"""Lists page by page, by the id of the last row, without COUNT."""

import re
from typing import Any, TypeVar

from django.contrib.admin.views.main import ChangeList
from django.db.models import CharField, Model, QuerySet, UUIDField
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.ids import parse_id

M = TypeVar("M", bound=Model)

CURSOR = "before"
# No longer than a column of numbers is wide.
NUMBER = re.compile(r"[0-9]{1,18}")
# What ids that people choose are made of.
WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
SCAN_LIMIT = 20_000
"""Rows that one page reads where no index finds what is searched for; the next page continues."""


class UncountedChangeList(ChangeList):
    """One page of rows, without COUNT; the base of all lists, enough for those that stay short."""

    has_older = False

    def get_results(self, request: HttpRequest) -> None:
        self.result_list, self.has_older = cut(self.queryset, self.list_per_page)
        self.result_count = len(self.result_list)
        # Equal to the one above, so that no page shows a total that nothing counted.
        self.full_result_count = self.result_count
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)


class KeysetChangeList(UncountedChangeList):
    """Newest first, page by page from an id on, so that a page costs the same at any depth."""

    order = "-pk"
    beyond = "pk__lt"
    words = (gettext_lazy("Newest"), gettext_lazy("Older"))
    before: str | None = None
    scan_limit = SCAN_LIMIT
    scan_end: Any = None
    model_admin: Any

    def get_results(self, request: HttpRequest) -> None:
        self.scan_end = self._scan_end(self.model_admin.rows_to_scan(request))
        if self.scan_end is not None:
            self.queryset = self.queryset.filter(pk__gte=self.scan_end)
        super().get_results(request)

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        # Removed before Django takes it for a filter; a changed filter starts at the first page.
        self.filter_params.pop(CURSOR, None)
        self.before = self.params.pop(CURSOR, None)
        return self._after_cursor(super().get_queryset(request, exclude_parameters))

    def older_url(self) -> str | None:
        """The address of the next page, or None on the last one."""
        last = self.result_list[-1].pk if self.has_older else self.scan_end
        return None if last is None else self.get_query_string({CURSOR: str(last)})

    def newest_url(self) -> str | None:
        """The address of the first page, or None on it."""
        return self.get_query_string() if self.before else None

    @property
    def is_cut(self) -> bool:
        """Whether the page ends at the scan's limit, so that further pages may find more."""
        return self.scan_end is not None and not self.has_older

    def _scan_end(self, rows: QuerySet[Any] | None) -> Any:
        """The last row that is read, or None where all are."""
        if rows is None:
            return None
        keys = self._after_cursor(rows).values_list("pk", flat=True)
        return keys[self.scan_limit : self.scan_limit + 1].first()

    def _after_cursor(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        place, rows = self._place(), rows.order_by(self.order)
        return rows if place is None else rows.filter(**{self.beyond: place})

    def _place(self) -> Any:
        """The cursor as a value of the primary key; None, the first page, if it cannot be one."""
        if not self.before:
            return None
        kind = self.model._meta.pk
        if isinstance(kind, UUIDField):
            return parse_id(self.before)
        if isinstance(kind, CharField):
            return self.before if WORD.fullmatch(self.before) else None
        return int(self.before) if NUMBER.fullmatch(self.before) else None


class NamedChangeList(KeysetChangeList):
    """In the order of ids that people chose."""

    order = "pk"
    beyond = "pk__gt"
    words = (gettext_lazy("First"), gettext_lazy("Next"))


def cut(rows: QuerySet[M], size: int) -> tuple[list[M], bool]:
    """The first rows, and whether there are more."""
    found = list(rows[: size + 1])
    return found[:size], len(found) > size
