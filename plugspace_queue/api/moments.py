"""Times as callers send them: text of ISO 8601 with a zone, brought to UTC."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field


def _is_text(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("must be text in the form of ISO 8601")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time that there is in UTC") from None


Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_is_text), AfterValidator(_in_utc)
]
