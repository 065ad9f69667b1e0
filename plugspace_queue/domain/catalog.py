"""The registry of task types: declares them, finds them; frozen when all apps are ready."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed
from datetime import timedelta
from typing import Any, NoReturn

from plugspace_queue.domain import task_options, task_types
from plugspace_queue.domain.fields import with_outputs
from plugspace_queue.domain.shapes import Shape
from plugspace_queue.domain.task_types import (
    DECLARED,
    NAME,
    RESERVED,
    Declaration,
    In,
    Limiter,
    Out,
    TaskType,
)
from plugspace_queue.errors import (
    CatalogFrozen,
    InvalidTaskType,
    TaskTypeConflict,
    TaskTypeReserved,
)
from plugspace_queue.errors import translated as _

_is_frozen = False


def task_type(
    name: str,
    *,
    input: type[In] | None = None,
    output: type[Out] | None = None,
    concurrency: int | None = None,
    default_priority: int | None = None,
    limiter: Limiter | None = None,
    timeout: float | timedelta | None = None,
    ttl: float | timedelta | None = None,
    max_retries: int | None = None,
    backoff_delay: float | timedelta | None = None,
    backoff_jitter: float | None = None,
    retry_on: tuple[type[BaseException], ...] | None = None,
    isolation: str | None = None,
    quotas: Mapping[str, int] | None = None,
    label: str | None = None,
    internal: bool | None = None,
    upgrade: Callable[[dict[str, Any]], Any] | None = None,
    replace: bool = False,
) -> TaskType[In, Out]:
    """Declare a type of tasks, in a `task_types.py` of an installed app; return it.

    The name is `[A-Z][A-Z0-9_]{0,31}`; its queue is the lower-case name. `input` and `output` are
    pydantic models, dataclasses, or other types that pydantic validates; left out, any JSON (an
    object as input). `concurrency` slots of one worker process (5), `default_priority` of
    organizations without a tier (2), `limiter` starts over all workers (none), `timeout` of an
    attempt, `ttl` of the wait for the first start, `max_retries`, `backoff_delay`,
    `backoff_jitter`: as the settings say; durations are seconds or timedeltas. `retry_on` are
    exceptions worth another run; `isolation` is "process" for code that may crash or hang; `quotas`
    are tasks per month by tier, `"*"` for all others, -1 for no limit; `label` is for people;
    `internal` types are submitted from Python only; `upgrade` takes an input that was stored for an
    earlier model and returns it in today's form. With `replace` a type that is declared gets what
    is given here and keeps the rest.

    Raises InvalidTaskType (name or option), TaskTypeReserved, TaskTypeConflict (declared before),
    CatalogFrozen (after the start of Django).
    """
    _require_name(name)
    options = {
        "input": input,
        "output": output,
        "concurrency": concurrency,
        "default_priority": default_priority,
        "limiter": limiter,
        "timeout": _seconds(timeout),
        "ttl": _seconds(ttl),
        "max_retries": max_retries,
        "backoff_delay": _seconds(backoff_delay),
        "backoff_jitter": backoff_jitter,
        "retry_on": retry_on,
        "isolation": isolation,
        "quotas": quotas,
        "label": label,
        "internal": internal,
        "upgrade": upgrade,
    }
    given = {option: value for option, value in options.items() if value is not None}
    _require_options(name, given)
    return _declare(name, given, replace=replace)


def _declare(name: str, given: Mapping[str, Any], *, replace: bool) -> TaskType[Any, Any]:
    known = DECLARED.get(name)
    if _is_frozen:
        raise CatalogFrozen(
            _(
                "%(name)s is declared too late: put task_type(…) into the task_types.py of"
                " an installed app, which is imported when Django starts."
            )
            % {"name": name},
            type=name,
        )
    if known is None:
        known = DECLARED[name] = task_types.made(name, Declaration(**given))
    elif replace:
        before = known.declaration
        if "output" in given:
            given = {**given, "former_outputs": (*before.former_outputs, before.output)}
        task_types.describe(known, changed(before, **given))
    else:
        raise TaskTypeConflict(
            _("%(name)s is declared already; pass replace=True to change it, or take another name.")
            % {"name": name},
            type=name,
        )
    _settle_inputs()
    return known


def with_registered_outputs(model: Any) -> Any:
    """The model, with what types now make in its fields with `From` that name what they made."""
    replaced = {
        kind.value: (kind.declaration.output, kind.declaration.former_outputs)
        for kind in TaskType
        if kind.declaration.former_outputs
    }
    return with_outputs(model, replaced) if replaced else model


def _settle_inputs() -> None:
    """Have the inputs of all types take the outputs that are registered now."""
    for kind in TaskType:
        model = with_registered_outputs(kind.declaration.input)
        if model is not kind.input.type:
            kind.input = Shape(model)


def find(name: str) -> TaskType | None:
    """The declared type of this name, or None."""
    return DECLARED.get(name)


def type_of_queue(queue: str) -> TaskType | None:
    """The task type of an RQ queue name, or None when the queue is not ours.

    >>> type_of_queue("code"), type_of_queue("default")
    (<TaskType.CODE>, None)
    """
    return DECLARED.get(queue.upper()) if queue.islower() else None


def queue_names() -> tuple[str, ...]:
    """The queues of all declared types, in order."""
    return tuple(kind.queue_name for kind in TaskType)


def first_queue() -> str:
    """The queue of the first declared type. Raises InvalidTaskType when none is declared."""
    for name in DECLARED:
        return name.lower()
    raise InvalidTaskType(
        _(
            "No task type is declared: put one into a task_types.py of an installed"
            " app, or leave PLUGSPACE_QUEUE['CATALOGS'] as it is."
        )
    )


def public_types() -> list[TaskType]:
    """The types that tenants may see and submit."""
    return [kind for kind in TaskType if not kind.is_internal]


def internal_types() -> list[TaskType]:
    """The types that only Python submits."""
    return [kind for kind in TaskType if kind.is_internal]


def is_internal(name: str) -> bool:
    """Whether a row's type is one that no tenant sees."""
    kind = DECLARED.get(name)
    return kind is not None and kind.declaration.internal


def freeze() -> None:
    """Refuse further declarations: all processes of a project know the same types."""
    global _is_frozen
    _is_frozen = True


@contextmanager
def open_for_declarations() -> Iterator[None]:
    """Allow declarations in a block; afterwards types are as they were before it."""
    global _is_frozen
    before, was_frozen = [(kind, kind.declaration) for kind in TaskType], _is_frozen
    _is_frozen = False
    try:
        yield
    finally:
        DECLARED.clear()
        for kind, declaration in before:
            DECLARED[kind.value] = kind
            task_types.describe(kind, declaration)
        _settle_inputs()
        _is_frozen = was_frozen


def _seconds(duration: float | timedelta | None) -> Any:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _require_name(name: object) -> None:
    if not isinstance(name, str) or not NAME.match(name):
        raise InvalidTaskType(
            _(
                "%(name)r cannot be the name of a task type: 1 to 32 capital letters,"
                " digits and _, a letter first."
            )
            % {"name": name},
            option="name",
        )
    if name in RESERVED:
        raise TaskTypeReserved(
            _(
                "%(name)s is reserved: its queue would have a Redis key of"
                " plugspace_queue's own, or it is a type of plugspace_queue's own. Take"
                " another name."
            )
            % {"name": name},
            type=name,
        )


def _require_options(name: str, given: Mapping[str, Any]) -> None:
    def refuse(option: str, reason: str) -> NoReturn:
        raise InvalidTaskType(
            _("Task type %(name)s: %(reason)s") % {"name": name, "reason": reason},
            option=option,
            type=name,
        )

    task_options.require_valid(given, refuse)
    limiter = given.get("limiter")
    if limiter is not None:
        if not isinstance(limiter, Limiter):
            refuse(
                "limiter",
                _("limiter is a Limiter(starts, per=seconds), not %(limiter)r.")
                % {"limiter": limiter},
            )
        task_options.require_limiter("limiter", limiter.max, limiter.per, refuse)
