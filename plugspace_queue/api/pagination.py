"""Lists page by page: by keyset on the time-ordered id, or by offset up to a limit; no COUNT.

Not REST framework's paginators: theirs do not skip rows in an index alone, and do not continue
from an offset with a cursor.
"""

import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _
from pydantic import ConfigDict, Field, ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from plugspace_queue.api.exceptions import from_pydantic
from plugspace_queue.domain.ids import first_id, parse_id
from plugspace_queue.errors import ValidationRefused
from plugspace_queue.schemas.base import WireModel
from plugspace_queue.schemas.requests import Moment

FORMAT = "format"
DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_OFFSET = 10_000

# A cursor is a direction and an id: the rows before it (older) or after it.
KEYS = {"before": "-id", "after": "id"}
LOOKUPS = {"before": "pk__lt", "after": "pk__gt"}
OPPOSITE = {"before": "after", "after": "before"}


class SortOrder(StrEnum):
    """Which rows come first."""

    NEWEST = "newest"
    OLDEST = "oldest"


FORWARD = {SortOrder.NEWEST: "before", SortOrder.OLDEST: "after"}

Q = TypeVar("Q", bound=WireModel)
M = TypeVar("M", bound=Model)


class PageQuery(WireModel):
    """The query parameters of every list."""

    model_config = ConfigDict(strict=False)

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Rows per page.")
    cursor: str | None = Field(None, max_length=64, description="From `next` or `previous`.")
    offset: int | None = Field(
        None, ge=0, le=MAX_OFFSET, description="Rows to skip; follow `next` to go deeper."
    )
    order: SortOrder = Field(SortOrder.NEWEST, description="Which come first.")
    created_after: Moment | None = Field(None, description="From this time on, ISO 8601.")
    created_before: Moment | None = Field(None, description="Before this time, ISO 8601.")

    def within(self, rows: QuerySet[M]) -> QuerySet[M]:
        """The rows of the requested time, selected by their ids, which begin with their time."""
        if self.created_after is not None:
            rows = rows.filter(pk__gte=first_id(self.created_after))
        if self.created_before is not None:
            rows = rows.filter(pk__lt=first_id(self.created_before))
        return rows


def parse_query(request: Request, model: type[Q]) -> Q:
    """The query parameters; unknown ones are refused, so that a typo never lists everything."""
    try:
        params = {name: value for name, value in request.query_params.items() if name != FORMAT}
        return model.model_validate(params)
    except ValidationError as error:
        raise from_pydantic(error, where="query") from error


def paginate(
    request: Request, rows: QuerySet[M], params: PageQuery, render: Callable[[M], dict[str, Any]]
) -> dict[str, Any]:
    """`{results, next, previous}` of one page; the last two are URLs or null."""
    if params.cursor is not None and params.offset is not None:
        raise ValidationRefused(_("Give cursor or offset, not both."))
    rows = params.within(rows)
    if params.offset is not None:
        found, following, preceding = _by_offset(rows, params, params.offset)
    else:
        found, following, preceding = _by_cursor(rows, params)
    return {
        "results": [render(row) for row in found],
        "next": following and _url(request, following),
        "previous": preceding and _url(request, preceding),
    }


# Rows, and the parameter of the next and of the previous page.
Param = tuple[str, str] | None
Slice = tuple[list[M], Param, Param]


def _by_offset(rows: QuerySet[M], params: PageQuery, offset: int) -> Slice[M]:
    forward, limit = FORWARD[params.order], params.limit
    # Keys first: the skipped rows are then read from an index alone.
    keys = rows.order_by(KEYS[forward]).values_list("pk", flat=True)
    wanted = list(keys[offset : offset + limit + 1])
    found = list(rows.filter(pk__in=wanted[:limit]).order_by(KEYS[forward]))
    following: Param = None
    if len(wanted) > limit and offset + limit <= MAX_OFFSET:
        following = "offset", str(offset + limit)
    elif len(wanted) > limit:
        following = "cursor", f"{forward}.{wanted[limit - 1]}"
    return found, following, ("offset", str(max(0, offset - limit))) if offset else None


def _by_cursor(rows: QuerySet[M], params: PageQuery) -> Slice[M]:
    forward = FORWARD[params.order]
    direction, key = (forward, None) if params.cursor is None else _parse(params.cursor)
    if key is not None:
        rows = rows.filter(**{LOOKUPS[direction]: key})
    found = list(rows.order_by(KEYS[direction])[: params.limit + 1])
    has_more = len(found) > params.limit
    found = found[: params.limit]
    if direction == forward:
        has_next, has_previous = has_more, key is not None
    else:
        found, has_next, has_previous = found[::-1], True, has_more
    if not found:
        return found, None, None
    following = ("cursor", f"{forward}.{found[-1].pk}") if has_next else None
    preceding = ("cursor", f"{OPPOSITE[forward]}.{found[0].pk}") if has_previous else None
    return found, following, preceding


def _parse(cursor: str) -> tuple[str, uuid.UUID]:
    direction, _dot, text = cursor.partition(".")
    key = parse_id(text)
    if direction not in KEYS or key is None:
        raise ValidationRefused(_("Invalid cursor; take it from next or previous."))
    return direction, key


def _url(request: Request, param: tuple[str, str]) -> str:
    url = request.build_absolute_uri()
    for name in ("cursor", "offset"):
        url = remove_query_param(url, name)
    return replace_query_param(url, *param)
