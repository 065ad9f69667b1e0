"""Checks of single arguments of the manager's methods; submits are validated by models."""

import unicodedata
from enum import StrEnum
from typing import TypeVar

from django.utils.translation import gettext as _

from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.text import is_clean
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.requests import LONGEST_ID

Word = TypeVar("Word", bound=StrEnum)


def word(field: str, value: object, words: type[Word]) -> Word:
    """A member of an enumeration, from itself or its text."""
    try:
        return words(str(value))
    except ValueError:
        refuse(field, _("must be one of %(names)s") % {"names": ", ".join(words)})


def task_type(value: object) -> TaskType:
    """A declared task type, from itself or its name."""
    found = find(str(value))
    if found is None:
        refuse("type", _("must be one of %(names)s") % {"names": ", ".join(TaskType)})
    return found


def name(field: str, value: object, longest: int = LONGEST_ID) -> str:
    """A text of 1 to `longest` characters without control characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        refuse(field, _("must be text of 1 to %(longest)s characters") % {"longest": longest})
    if not is_clean(value) or any(unicodedata.category(char) == "Cc" for char in value):
        refuse(field, _("must not hold control characters"))
    return value


def whole(field: str, value: object, low: int, high: int) -> int:
    """A whole number (no bool) within bounds."""
    if type(value) is not int or not low <= value <= high:
        refuse(
            field, _("must be a whole number from %(low)s to %(high)s") % {"low": low, "high": high}
        )
    return value


def truth(field: str, value: object) -> bool:
    """True or False; truthy values are refused."""
    if not isinstance(value, bool):
        refuse(field, _("must be true or false"))
    return value


def seconds(field: str, value: object, low: float, high: float) -> float:
    """A finite number of seconds within bounds (no bool)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        refuse(
            field,
            _("must be a number of seconds from %(low)g to %(high)g") % {"low": low, "high": high},
        )
    return float(value)
