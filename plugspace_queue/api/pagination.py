"""Lists page by page: by keyset on the time-ordered id, or by offset up to a limit; no COUNT."""

import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
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

# A cursor is a direction and an id: rows before it (older) or after it.
KEYS = {"before": "-id", "after": "id"}
LOOKUPS = {"before": "pk__lt", "after": "pk__gt"}
OPPOSITE = {"before": "after", "after": "before"}


class Order(StrEnum):
    """Which rows of a list come first."""

    NEWEST = "newest"
    OLDEST = "oldest"


ONWARD = {Order.NEWEST: "before", Order.OLDEST: "after"}

Q = TypeVar("Q", bound=WireModel)
M = TypeVar("M", bound=Model)


class PageQuery(WireModel):
    """The query parameters that every list knows."""

    model_config = ConfigDict(strict=False)

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Rows per page.")
    cursor: str | None = Field(None, max_length=64, description="From `next` or `previous`.")
    offset: int | None = Field(
        None, ge=0, le=MAX_OFFSET, description="Rows to skip; follow `next` to go deeper."
    )
    order: Order = Field(Order.NEWEST, description="Which come first.")
    created_after: Moment | None = Field(None, description="From this time on, ISO 8601.")
    created_before: Moment | None = Field(None, description="Before this time, ISO 8601.")

    def within(self, rows: QuerySet[M]) -> QuerySet[M]:
        """The rows of the asked time; found by their ids, which begin with it."""
        if self.created_after is not None:
            rows = rows.filter(pk__gte=first_id(self.created_after))
        if self.created_before is not None:
            rows = rows.filter(pk__lt=first_id(self.created_before))
        return rows


def query(request: Request, model: type[Q]) -> Q:
    """The query parameters; unknown ones are refused, so that a typo never shows everything."""
    try:
        asked = {name: value for name, value in request.query_params.items() if name != FORMAT}
        return model.model_validate(asked)
    except ValidationError as error:
        raise from_pydantic(error, where="query") from error


def page(
    request: Request, rows: QuerySet[M], asked: PageQuery, show: Callable[[M], dict[str, Any]]
) -> dict[str, Any]:
    """`{results, next, previous}` of one page; the last two are addresses or null."""
    if asked.cursor is not None and asked.offset is not None:
        raise ValidationRefused("Give cursor or offset, not both.")
    rows = asked.within(rows)
    if asked.offset is not None:
        found, following, preceding = _by_offset(request, rows, asked, asked.offset)
    else:
        found, following, preceding = _by_cursor(request, rows, asked)
    return {"results": [show(row) for row in found], "next": following, "previous": preceding}


Slice = tuple[list[M], str | None, str | None]


def _by_offset(request: Request, rows: QuerySet[M], asked: PageQuery, offset: int) -> Slice[M]:
    onward, limit = ONWARD[asked.order], asked.limit
    # Keys first: an index alone has those of the rows that are skipped.
    keys = rows.order_by(KEYS[onward]).values_list("pk", flat=True)
    wanted = list(keys[offset : offset + limit + 1])
    has_more = len(wanted) > limit
    found = list(rows.filter(pk__in=wanted[:limit]).order_by(KEYS[onward]))
    following = None
    if has_more and offset + limit <= MAX_OFFSET:
        following = _address(request, offset=offset + limit)
    elif has_more:
        following = _address(request, cursor=f"{onward}.{wanted[limit - 1]}")
    preceding = _address(request, offset=max(0, offset - limit)) if offset else None
    return found, following, preceding


def _by_cursor(request: Request, rows: QuerySet[M], asked: PageQuery) -> Slice[M]:
    onward = ONWARD[asked.order]
    direction, place = (onward, None) if asked.cursor is None else _parse(asked.cursor)
    found = _walked(rows, direction, place, asked.limit + 1)
    has_more = len(found) > asked.limit
    found = found[: asked.limit]
    if direction != onward:
        found, has_next, has_previous = found[::-1], True, has_more
    else:
        has_next, has_previous = has_more, place is not None
    following = _address(request, cursor=f"{onward}.{found[-1].pk}") if found and has_next else None
    back = f"{OPPOSITE[onward]}.{found[0].pk}" if found and has_previous else None
    return found, following, back and _address(request, cursor=back)


def _walked(rows: QuerySet[M], direction: str, place: uuid.UUID | None, most: int) -> list[M]:
    """Rows on one side of a place, the nearest first."""
    if place is not None:
        rows = rows.filter(**{LOOKUPS[direction]: place})
    return list(rows.order_by(KEYS[direction])[:most])


def _parse(cursor: str) -> tuple[str, uuid.UUID]:
    direction, _, text = cursor.partition(".")
    place = parse_id(text)
    if direction not in KEYS or place is None:
        raise ValidationRefused("This cursor is none of ours; take it from next or previous.")
    return direction, place


def _address(request: Request, **change: Any) -> str:
    url = request.build_absolute_uri()
    for name in ("cursor", "offset"):
        url = remove_query_param(url, name)
    for name, value in change.items():
        url = replace_query_param(url, name, str(value))
    return url
