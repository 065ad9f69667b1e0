"""Which function does which task type, and with what options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter

from plugspace_queue import policies
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.errors import ProcessorConflict
from plugspace_queue.processing.options import (
    adapter_of,
    is_async,
    known_type,
    name_of,
    require_valid,
)
from plugspace_queue.schemas.outputs import OUTPUTS

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A registered function and what its author asked for; None means: as configured."""

    task_type: TaskType
    function: Callable[..., Any]
    output: TypeAdapter[Any]
    concurrency: int | None = None
    timeout: float | None = None
    limiter: Mapping[str, float] | None = None
    isolation: str | None = None
    retry_on: tuple[type[BaseException], ...] = ()

    @cached_property
    def is_async(self) -> bool:
        """Whether it runs on the worker's event loop."""
        return is_async(self.function)


_processors: dict[TaskType, Processor] = {}


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
    if kind in _processors and not replace:
        raise ProcessorConflict(
            f"{kind} has the processor {name_of(_processors[kind].function)} already;"
            " pass replace=True to take its place."
        )
    require_valid(kind, function, options)
    adapter = adapter_of(kind, function, OUTPUTS[kind] if output is None else output)
    made = Processor(task_type=kind, function=function, output=adapter, **options)
    _processors[kind] = made
    policies.declare(kind, concurrency=made.concurrency, limiter=made.limiter)
    return made


def unregister(task_type: TaskType | str) -> None:
    """Forget the processor of a type; fine when there is none."""
    _processors.pop(TaskType(task_type), None)


def processor_of(task_type: TaskType | str) -> Processor | None:
    """The processor of a type, or None."""
    # A plain text finds it as well; an unknown one is refused.
    entry = _processors.get(task_type)  # type: ignore[arg-type]
    return entry if entry is not None else _processors.get(TaskType(task_type))


def put_back(task_type: TaskType | str, entry: Processor | None) -> None:
    """Have what `processor_of` returned earlier do a type again; None: nobody."""
    if entry is None:
        unregister(task_type)
        policies.declare(task_type)
        return
    _processors[entry.task_type] = entry
    policies.declare(entry.task_type, concurrency=entry.concurrency, limiter=entry.limiter)


def timeout_of(task_type: TaskType | str) -> float:
    """Seconds an attempt may take: the registration's, else as configured."""
    entry = processor_of(task_type)
    chosen = entry.timeout if entry else None
    return get_settings().timeout if chosen is None else chosen
