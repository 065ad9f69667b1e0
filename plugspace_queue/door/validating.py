"""What callers may say: arguments of a submit, checked and brought into one form."""

import json
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.text import all_clean, is_clean
from plugspace_queue.errors import PayloadTooLarge, ValidationRefused
from plugspace_queue.models import Task
from plugspace_queue.schemas.inputs import INPUTS

Word = TypeVar("Word", bound=StrEnum)

LONGEST_ID = 128
LONGEST_KEY = 255
MOST_RETRIES = 100
MOST_PARENTS = 100
LONGEST_TTL = 366 * 86_400
FURTHEST_RUN = timedelta(days=5 * 366)

#: Compact and sorted, so that equal data is equal text.
canonical: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def refuse(field: str, message: str) -> NoReturn:
    """Raise ValidationRefused for one argument."""
    raise ValidationRefused(
        f"{field}: {message}", field=field, errors=[{"loc": [field], "msg": message}]
    )


def word(field: str, value: object, words: type[Word]) -> Word:
    """A member of an enumeration, from itself or its text."""
    try:
        return words(str(value))
    except ValueError:
        refuse(field, f"must be one of {', '.join(words)}")


def name(field: str, value: object, longest: int = LONGEST_ID) -> str:
    """A text of 1 to `longest` characters without control characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        refuse(field, f"must be text of 1 to {longest} characters")
    if not is_clean(value) or any(unicodedata.category(char) == "Cc" for char in value):
        refuse(field, "must not hold control characters")
    return value


def whole(field: str, value: object, low: int, high: int) -> int:
    """A whole number (no bool) within bounds."""
    if type(value) is not int or not low <= value <= high:
        refuse(field, f"must be a whole number from {low} to {high}")
    return value


def truth(field: str, value: object) -> bool:
    """True or False, nothing that only looks like it."""
    if not isinstance(value, bool):
        refuse(field, "must be true or false")
    return value


def seconds(field: str, value: object, low: float, high: float) -> float:
    """A finite number of seconds within bounds (no bool)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        refuse(field, f"must be a number of seconds from {low:g} to {high:g}")
    return float(value)


def moment(field: str, value: object, now: datetime) -> datetime:
    """An aware time in UTC; not further away than five years."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        refuse(field, "must be a datetime with a time zone")
    if value > now + FURTHEST_RUN:
        refuse(field, f"must be within {FURTHEST_RUN.days} days")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        refuse(field, "must be a time that UTC can tell too")


def task_ids(field: str, values: object) -> tuple[uuid.UUID, ...]:
    """Ids of tasks, each once, in the order given; takes ids, their text, or tasks."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        refuse(field, "must be a list of task ids")
    found = {_task_id(field, value): None for value in values}
    if len(found) > MOST_PARENTS:
        refuse(field, f"must not name more than {MOST_PARENTS} tasks")
    return tuple(found)


def _task_id(field: str, value: object) -> uuid.UUID:
    task_id = value.pk if isinstance(value, Task) else parse_id(value)
    return task_id or refuse(field, f"{str(value)[:64]!r} is no task id")


def task_input(task_type: TaskType, value: object, beside: int = 0) -> dict[str, Any]:
    """The input of a task type in its stored form, as JSON data.

    Raises ValidationRefused with what and where, PayloadTooLarge when it has, with the bytes
    `beside` it, more than MAX_INPUT.
    """
    return model_input(INPUTS[task_type], value, beside)


def model_input(model: type[BaseModel], value: object, beside: int = 0) -> dict[str, Any]:
    """Data valid for a wire model, in its wire form; an instance of the model is taken too."""
    if isinstance(value, model):
        value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if not isinstance(value, Mapping):
        refuse("input", "must be an object")
    # Before pydantic looks at it: what is too large is not worth a look.
    require_size(encoded("input", value), beside)
    try:
        valid = model.model_validate(value)
    except ValidationError as error:
        raise refused_by(error, "input") from error
    return valid.model_dump(mode="json", by_alias=True, exclude_none=True)


def encoded(field: str, value: object) -> str:
    """The canonical JSON of a value; ValidationRefused when it is not strict, storable JSON."""
    try:
        text = canonical(value)
    except (TypeError, ValueError, RecursionError) as error:
        refuse(field, f"must be strict JSON: {error}")
    # Escapes only hide NUL; with ensure_ascii off everything else stands as it is.
    if ("\\u0000" in text or not is_clean(text)) and not all_clean(value):
        refuse(field, "text must not contain U+0000 or lone surrogates")
    return text


def require_size(text: str, beside: int = 0) -> None:
    """Raise PayloadTooLarge when the JSON text and `beside` have more than MAX_INPUT bytes."""
    limit = get_settings().max_input
    if len(text) * 4 + beside <= limit:
        return
    size = len(text.encode()) + beside
    if size > limit:
        raise PayloadTooLarge(
            f"Input and context have {size} bytes of JSON; {limit} is the most.",
            size=size,
            limit=limit,
        )


def refused_by(error: ValidationError, prefix: str) -> ValidationRefused:
    """A pydantic error as ours: `details["errors"]` has `loc` (a path) and `msg`."""
    found = [
        {"loc": [prefix, *entry["loc"]], "msg": entry["msg"]}
        for entry in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = found[0]
    place = ".".join(str(part) for part in first["loc"])
    return ValidationRefused(f"{place}: {first['msg']}", field=place, errors=found)
