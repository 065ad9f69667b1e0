"""Lists page by page: by keyset on the id (newest first), or by offset up to a limit; no COUNT."""

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from pydantic import ConfigDict, Field, ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from plugspace_queue.api.problems import from_pydantic
from plugspace_queue.errors import ValidationRefused
from plugspace_queue.ids import parse_id
from plugspace_queue.schemas.base import WireModel

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_OFFSET = 10_000

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


def query(request: Request, model: type[Q]) -> Q:
    """The query parameters; unknown ones are refused, so that a typo never shows everything."""
    try:
        return model.model_validate(request.query_params.dict())
    except ValidationError as error:
        raise from_pydantic(error, where="query") from error


def page(
    request: Request, rows: QuerySet[M], asked: PageQuery, show: Callable[[M], dict[str, Any]]
) -> dict[str, Any]:
    """`{results, next, previous}` of one page; the last two are addresses or null."""
    if asked.cursor is not None and asked.offset is not None:
        raise ValidationRefused("Give cursor or offset, not both.")
    if asked.offset is not None:
        found, following, preceding = _by_offset(request, rows, asked.limit, asked.offset)
    else:
        found, following, preceding = _by_cursor(request, rows, asked)
    return {"results": [show(row) for row in found], "next": following, "previous": preceding}


Slice = tuple[list[M], str | None, str | None]


def _by_offset(request: Request, rows: QuerySet[M], limit: int, offset: int) -> Slice[M]:
    found = list(rows.order_by("-id")[offset : offset + limit + 1])
    has_more = len(found) > limit
    found = found[:limit]
    following = None
    if has_more and offset + limit <= MAX_OFFSET:
        following = _address(request, offset=offset + limit)
    elif has_more:
        following = _address(request, cursor=_older(found))
    preceding = _address(request, offset=max(0, offset - limit)) if offset else None
    return found, following, preceding


def _by_cursor(request: Request, rows: QuerySet[M], asked: PageQuery) -> Slice[M]:
    direction, place = _parse(asked.cursor)
    if direction == "after":
        found = list(rows.filter(pk__gt=place).order_by("id")[: asked.limit + 1])
        has_newer, has_older = len(found) > asked.limit, True
        found = found[: asked.limit][::-1]
    else:
        older = rows if place is None else rows.filter(pk__lt=place)
        found = list(older.order_by("-id")[: asked.limit + 1])
        has_newer, has_older = place is not None, len(found) > asked.limit
        found = found[: asked.limit]
    following = _address(request, cursor=_older(found)) if found and has_older else None
    preceding = _address(request, cursor=f"after.{found[0].pk}") if found and has_newer else None
    return found, following, preceding


def _older(found: list[M]) -> str:
    return f"before.{found[-1].pk}"


def _parse(cursor: str | None) -> tuple[str, uuid.UUID | None]:
    if cursor is None:
        return "before", None
    direction, _, text = cursor.partition(".")
    place = parse_id(text)
    if direction not in ("before", "after") or place is None:
        raise ValidationRefused("This cursor is none of ours; take it from next or previous.")
    return direction, place


def _address(request: Request, **change: Any) -> str:
    url = request.build_absolute_uri()
    for name in ("cursor", "offset"):
        url = remove_query_param(url, name)
    for name, value in change.items():
        url = replace_query_param(url, name, str(value))
    return url
