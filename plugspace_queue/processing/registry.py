"""The registry of processors: the function and options for each task type.

Options are validated at registration, so that a mistake does not make tasks fail.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from asgiref.sync import iscoroutinefunction
from django.utils.module_loading import autodiscover_modules
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from plugspace_queue.conf import in_force
from plugspace_queue.domain import task_options
from plugspace_queue.domain.fields import Outputs
from plugspace_queue.domain.shapes import built_adapter, is_model
from plugspace_queue.domain.task_types import TaskType, of_row
from plugspace_queue.errors import InvalidProcessor, ProcessorConflict
from plugspace_queue.limits import registrations
from plugspace_queue.processing.context import Context

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A registered function and its options; None means as configured."""

    task_type: TaskType
    function: Callable[..., Any]
    output: TypeAdapter[Any]
    own_output: Any = None
    """What it returns in place of the type's own output; None: that."""
    concurrency: int | None = None
    timeout: float | None = None
    limiter: Mapping[str, float] | None = None
    isolation: str | None = None
    retry_on: tuple[type[BaseException], ...] = ()
    replaces: bool = False
    """Whether it was to take the place of any other."""

    @cached_property
    def is_async(self) -> bool:
        """Whether it runs on the worker's event loop."""
        return is_async(self.function)


_processors: dict[str, Processor] = {}
_is_loading = False
_are_loaded = False


def processor(
    task_type: TaskType | str,
    *,
    concurrency: int | None = None,
    timeout: float | None = None,
    limiter: Mapping[str, float] | None = None,
    isolation: str | None = None,
    retry_on: tuple[type[BaseException], ...] = (),
    output: Any = None,
    replace: bool = False,
) -> Callable[[F], F]:
    """Decorator: this function (sync or async) does tasks of `task_type`.

    `concurrency` slots per worker process, `timeout` seconds per attempt, `limiter`
    {"max": starts, "duration": seconds} over all workers, `isolation` "process" for code that
    may crash or hang, `retry_on` exceptions worth another run, `output` a type or pydantic model
    in place of the task type's own. Raises ProcessorConflict when the type has one already,
    InvalidProcessor with the reason for what cannot be.
    """

    def register_it(function: F) -> F:
        register(
            task_type,
            function,
            concurrency=concurrency,
            timeout=timeout,
            limiter=limiter,
            isolation=isolation,
            retry_on=retry_on,
            output=output,
            replace=replace,
        )
        return function

    return register_it


def register(
    task_type: TaskType | str,
    function: Callable[..., Any],
    *,
    output: Any = None,
    replace: bool = False,
    **options: Any,
) -> Processor:
    """Register `function` for a task type; see `processor` for options and what it raises."""
    kind = known_type(task_type)
    known = _processors.get(kind)
    if known is not None and known.replaces and _is_loading:
        # Who asked to take the place before the modules were imported has it.
        return known
    if known is not None and not replace:
        raise ProcessorConflict(
            f"{kind} has the processor {name_of(known.function)} already;"
            " pass replace=True to take its place."
        )
    require_valid(kind, function, options)
    _require_hints(kind, function, has_own_output=output is not None)
    adapter = adapter_of(kind, function, kind.output.type if output is None else output)
    declared = kind.declaration
    options["isolation"] = options.get("isolation") or declared.isolation
    options["retry_on"] = options.get("retry_on") or declared.retry_on
    made = Processor(
        task_type=kind,
        function=function,
        output=adapter,
        own_output=output,
        replaces=replace,
        **options,
    )
    _processors[kind] = made
    registrations.declare(kind, concurrency=made.concurrency, limiter=made.limiter)
    return made


def load_processors() -> None:
    """Import the `processors` module of each installed app, once in a process.

    Workers, checks and tests do it; web processes do without the libraries that processors need.
    """
    global _is_loading, _are_loaded
    if _are_loaded or _is_loading:
        return
    _is_loading = True
    try:
        autodiscover_modules("processors")
        _are_loaded = True
    finally:
        _is_loading = False


def unregister(task_type: TaskType | str) -> None:
    """Forget the processor of a type; fine when there is none."""
    _processors.pop(task_type, None)


def processor_of(task_type: TaskType | str) -> Processor | None:
    """The processor of a type, or None."""
    return _processors.get(task_type)


def own_outputs() -> Outputs:
    """The outputs of processors that return other ones than their types declare."""
    return {
        name: (entry.own_output, (entry.task_type.output.type, *_former(entry)))
        for name, entry in _processors.items()
        if entry.own_output is not None
    }


def _former(entry: Processor) -> tuple[Any, ...]:
    return entry.task_type.declaration.former_outputs


def output_of(task_type: TaskType | str) -> TypeAdapter[Any]:
    """What validates a result: the schema of the type's processor here, else the type's own."""
    entry = processor_of(task_type)
    return of_row(str(task_type)).output.adapter if entry is None else entry.output


def put_back(task_type: TaskType | str, entry: Processor | None) -> None:
    """Restore what `processor_of` returned earlier; None for no processor."""
    if entry is None:
        unregister(task_type)
        registrations.declare(task_type)
        return
    _processors[entry.task_type] = entry
    registrations.declare(entry.task_type, concurrency=entry.concurrency, limiter=entry.limiter)


def timeout_of(task_type: TaskType | str) -> float:
    """Seconds an attempt may take: the registration's, else as configured."""
    entry = processor_of(task_type)
    if entry is not None and entry.timeout is not None:
        return entry.timeout
    return float(in_force(task_type, "timeout"))


class Refusal:
    """Raises InvalidProcessor for one registration."""

    def __init__(self, task_type: TaskType, function: object) -> None:
        self._subject = f"{name_of(function)} for {task_type}"
        self._type = task_type.value

    def __call__(self, option: str, reason: str) -> NoReturn:
        raise InvalidProcessor(
            f"Processor {self._subject}: {reason}", option=option, type=self._type
        )


def known_type(task_type: TaskType | str) -> TaskType:
    """The task type; raises InvalidProcessor for an unknown one."""
    try:
        return TaskType(task_type)
    except ValueError:
        raise InvalidProcessor(
            f"There is no task type {task_type!r}: it is one of {', '.join(TaskType)}.",
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
        refuse("output", f"output is a type that pydantic can validate, not {output!r}: {error}")


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


def _require_hints(kind: TaskType, function: Callable[..., Any], *, has_own_output: bool) -> None:
    """Refuse a function whose hints name other models than its task type."""
    refuse, hints = Refusal(kind, function), _hints_of(function)
    returned = hints.pop("return", Any)
    if not has_own_output and _disagrees(returned, kind.output.type):
        refuse("output", _words("returns", returned, "output", kind.output.type))
    for hint in hints.values():
        taken = get_args(hint)[0] if get_origin(hint) is Context else Any
        if _disagrees(taken, kind.input.type):
            refuse("input", _words("takes", taken, "input", kind.input.type))


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


def _words(verb: str, hint: Any, side: str, declared: Any) -> str:
    told = f"it {verb} {hint.__qualname__} by its hint"
    return f"{told}, and the {side} of the task type is {declared.__qualname__}."


def _require_processor(function: object, refuse: Refusal) -> None:
    if not callable(function):
        refuse("function", f"{function!r} cannot be called.")
    inner = _unwrapped(function)
    if _yields(inner) or _yields(_call_of(inner)):
        refuse("function", "it yields; a processor returns its result.")
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
        refuse("function", f"it is called with one argument, the context: {error}.")


def _require_limiter(value: Any, refuse: Refusal) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping) or set(value) != {"max", "duration"}:
        refuse("limiter", f"limiter holds max and duration, and nothing else, not {value!r}.")
    task_options.require_limiter("limiter", value["max"], value["duration"], refuse)
