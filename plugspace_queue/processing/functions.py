"""Functions as processors: their names, and whether function, options and hints fit a task type."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from asgiref.sync import iscoroutinefunction
from django.utils.translation import gettext_noop
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from plugspace_queue.domain import task_options
from plugspace_queue.domain.shapes import built_adapter, is_model
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import InvalidProcessor
from plugspace_queue.errors import translated as _
from plugspace_queue.processing.context import Context

RETURNS = gettext_noop(
    "it returns %(hint)s by its hint, and the output of the task type is %(declared)s."
)
TAKES = gettext_noop(
    "it takes %(hint)s by its hint, and the input of the task type is %(declared)s."
)


class Refusal:
    """Raises InvalidProcessor for one registration."""

    def __init__(self, task_type: TaskType, function: object) -> None:
        self._subject = f"{name_of(function)} for {task_type}"
        self._type = task_type.value

    def __call__(self, option: str, reason: str) -> NoReturn:
        raise InvalidProcessor(
            _("Processor %(subject)s: %(reason)s") % {"subject": self._subject, "reason": reason},
            option=option,
            type=self._type,
        )


def known_type(task_type: TaskType | str) -> TaskType:
    """The task type; raises InvalidProcessor for an unknown one."""
    try:
        return TaskType(task_type)
    except ValueError:
        raise InvalidProcessor(
            _("There is no task type %(task_type)r: it is one of %(names)s.")
            % {"task_type": task_type, "names": ", ".join(TaskType)},
            option="type",
        ) from None


def require_valid(task_type: TaskType, function: object, options: Mapping[str, Any]) -> None:
    """Raise InvalidProcessor for the first invalid option."""
    refuse = Refusal(task_type, function)
    _require_processor(function, refuse)
    task_options.require_valid(options, refuse)
    _require_limiter(options.get("limiter"), refuse)


def adapter_of(task_type: TaskType, function: object, output: Any) -> TypeAdapter[Any]:
    """The adapter that validates the results."""
    try:
        return built_adapter(output)
    except (PydanticUserError, TypeError) as error:
        refuse = Refusal(task_type, function)
        refuse(
            "output",
            _("output is a type that pydantic can validate, not %(output)r: %(error)s")
            % {"output": output, "error": error},
        )


def name_of(function: object) -> str:
    """A callable's full name; of a partial that of what it calls, of an object its class's."""
    inner = _unwrapped(function)
    if not hasattr(inner, "__qualname__"):
        inner = type(inner)
    return f"{inner.__module__}.{inner.__qualname__}"


def is_async(function: object) -> bool:
    """Whether calling it gives a coroutine: also that of an object, or of a partial of one."""
    inner = _unwrapped(function)
    return iscoroutinefunction(inner) or iscoroutinefunction(_call_of(inner))


def _unwrapped(function: object) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _call_of(function: object) -> Any:
    """The method behind `object()`; None of a class, whose call makes an instance."""
    return None if isinstance(function, type) else getattr(function, "__call__", None)  # noqa: B004


def require_hints(kind: TaskType, function: Callable[..., Any], *, has_own_output: bool) -> None:
    """Refuse a function whose hints name other models than its task type."""
    refuse, hints = Refusal(kind, function), _hints_of(function)
    returned = hints.pop("return", Any)
    if not has_own_output and _disagrees(returned, kind.output.type):
        refuse("output", _named(RETURNS, returned, kind.output.type))
    for hint in hints.values():
        taken = get_args(hint)[0] if get_origin(hint) is Context else Any
        if _disagrees(taken, kind.input.type):
            refuse("input", _named(TAKES, taken, kind.input.type))


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    inner = _unwrapped(function)
    try:
        # Of an object the hints are at its method.
        return get_type_hints(inner if inspect.isroutine(inner) else inner.__call__)
    except Exception:
        # What stands under TYPE_CHECKING has no name here.
        return {}


def _disagrees(hint: Any, declared: Any) -> bool:
    """Whether both are models, and not related; plain JSON is held to the model when it runs."""
    if not (_is_a_model(hint) and _is_a_model(declared)):
        return False
    return not (issubclass(hint, declared) or issubclass(declared, hint))


def _is_a_model(hint: Any) -> bool:
    return is_model(hint) or (inspect.isclass(hint) and is_dataclass(hint))


def _named(message: str, hint: Any, declared: Any) -> str:
    return _(message) % {"hint": hint.__qualname__, "declared": declared.__qualname__}


def _require_processor(function: object, refuse: Refusal) -> None:
    if not callable(function):
        refuse("function", _("%(function)r cannot be called.") % {"function": function})
    inner = _unwrapped(function)
    if _yields(inner) or _yields(_call_of(inner)):
        refuse("function", _("it yields; a processor returns its result."))
    _require_one_argument(function, refuse)


def _yields(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _require_one_argument(function: Callable[..., Any], refuse: Refusal) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some built-in callables have no signature.
        return
    try:
        signature.bind(None)
    except TypeError as error:
        refuse(
            "function",
            _("it is called with one argument, the context: %(error)s.") % {"error": error},
        )


def _require_limiter(value: Any, refuse: Refusal) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping) or set(value) != {"max", "duration"}:
        refuse(
            "limiter",
            _("limiter holds max and duration, and nothing else, not %(value)r.")
            % {"value": value},
        )
    task_options.require_limiter("limiter", value["max"], value["duration"], refuse)
