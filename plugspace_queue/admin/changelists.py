"""One page of a list after the other: by the last row's id, without COUNT."""

import re
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import CharField, QuerySet, UUIDField
from django.http import HttpRequest

from plugspace_queue.domain.ids import parse_id

CURSOR = "before"
# No longer than a column of numbers is wide.
NUMBER = re.compile(r"[0-9]{1,18}")
# What ids that people choose are made of.
WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_WALKED = 20_000
"""Rows one page looks through where no index finds what is asked; the next one goes on."""


class UncountedChangeList(ChangeList):
    """One page of rows without COUNT; for lists that are short by nature."""

    has_older = False

    def get_results(self, request: HttpRequest) -> None:
        rows = list(self.queryset[: self.list_per_page + 1])
        self.has_older = len(rows) > self.list_per_page
        self.result_list = rows[: self.list_per_page]
        self.result_count = len(self.result_list)
        # Equal to the one above, so that no page pretends to know how many there are.
        self.full_result_count = self.result_count
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)


class KeysetChangeList(UncountedChangeList):
    """Newest first, page by page from an id on: a page costs the same at any depth, no COUNT."""

    order = "-pk"
    beyond = "pk__lt"
    words = ("Newest", "Older")
    before: str | None = None
    walk_end: Any = None
    model_admin: Any

    def get_results(self, request: HttpRequest) -> None:
        self.walk_end = self._walk_end(self.model_admin.walked(request))
        if self.walk_end is not None:
            self.queryset = self.queryset.filter(pk__gte=self.walk_end)
        super().get_results(request)

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        # Taken out before Django takes it for a filter; a changed filter starts at the top.
        self.filter_params.pop(CURSOR, None)
        self.before = self.params.pop(CURSOR, None)
        rows = super().get_queryset(request, exclude_parameters).order_by(self.order)
        place = self._place()
        return rows if place is None else rows.filter(**{self.beyond: place})

    def older_url(self) -> str | None:
        """The address of the next page, or None on the last one."""
        last = self.result_list[-1].pk if self.has_older else self.walk_end
        return None if last is None else self.get_query_string({CURSOR: str(last)})

    def newest_url(self) -> str | None:
        """The address of the first page, or None on it."""
        return self.get_query_string() if self.before else None

    @property
    def is_cut(self) -> bool:
        """Whether the page ends where it stopped looking, though there may be more to find."""
        return self.walk_end is not None and not self.has_older

    def _walk_end(self, rows: QuerySet[Any] | None) -> Any:
        """The last row that is looked at, or None where all are."""
        if rows is None:
            return None
        place = self._place()
        rows = rows if place is None else rows.filter(**{self.beyond: place})
        keys = rows.order_by(self.order).values_list("pk", flat=True)
        return keys[MOST_WALKED : MOST_WALKED + 1].first()

    def _place(self) -> Any:
        if not self.before:
            return None
        # By the key's own kind: what is neither means the first page.
        kind = self.model._meta.pk
        if isinstance(kind, UUIDField):
            return parse_id(self.before)
        if isinstance(kind, CharField):
            return self.before if WORD.fullmatch(self.before) else None
        return int(self.before) if NUMBER.fullmatch(self.before) else None


class NamedChangeList(KeysetChangeList):
    """From A on, for rows whose ids people choose."""

    order = "pk"
    beyond = "pk__gt"
    words = ("First", "Next")
