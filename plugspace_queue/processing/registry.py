"""The registry of processors: the function and options for each task type.

Options are validated at registration, so that a mistake does not make tasks fail.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from django.utils.module_loading import autodiscover_modules
from pydantic import TypeAdapter

from plugspace_queue.conf import in_force
from plugspace_queue.domain.fields import Outputs
from plugspace_queue.domain.task_types import TaskType, of_row
from plugspace_queue.errors import ProcessorConflict
from plugspace_queue.errors import translated as _
from plugspace_queue.limits import registrations
from plugspace_queue.processing.functions import (
    adapter_of,
    is_async,
    known_type,
    name_of,
    require_hints,
    require_valid,
)

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
            _(
                "%(kind)s has the processor %(function)s already; pass replace=True to take"
                " its place."
            )
            % {"kind": kind, "function": name_of(known.function)}
        )
    require_valid(kind, function, options)
    require_hints(kind, function, has_own_output=output is not None)
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
