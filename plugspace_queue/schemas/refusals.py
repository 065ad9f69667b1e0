"""Converts validation errors to ValidationRefused, with the names that callers use."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from plugspace_queue.errors import ValidationRefused


def refuse(field: str, message: str) -> NoReturn:
    """Raise ValidationRefused for one argument."""
    raise ValidationRefused(
        f"{field}: {message}", field=field, errors=[{"loc": [field], "msg": message}]
    )


def arguments_refused(error: ValidationError, model: type[BaseModel]) -> ValidationRefused:
    """Pydantic's error with the names of arguments, and without places in lists."""
    names = {field.alias: name for name, field in model.model_fields.items()}
    found = []
    for entry in entries(error):
        first, *rest = entry["loc"] or ("input",)
        inner = [str(part) for part in rest if isinstance(part, str)]
        field = ".".join([names.get(str(first), str(first)), *inner])
        found.append({"loc": [field], "msg": entry["msg"]})
    return _refusal(found[0]["loc"][0], found)


def input_refused(faults: Iterable[Mapping[str, Any]]) -> ValidationRefused:
    """The same for an input, of these entries of the error."""
    found = [{"loc": ["input", *entry["loc"]], "msg": entry["msg"]} for entry in faults]
    return _refusal(".".join(str(part) for part in found[0]["loc"]), found)


def entries(error: ValidationError) -> list[Any]:
    """What is wrong, and where, without values."""
    return error.errors(include_url=False, include_input=False, include_context=False)


def _refusal(field: str, found: list[dict[str, Any]]) -> ValidationRefused:
    return ValidationRefused(f"{field}: {found[0]['msg']}", field=field, errors=found)
