"""Task types: what a declaration says, and the string that stands for one.

The types that are declared are in `DECLARED`; `domain.catalog` declares them.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, overload

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema
from typing_extensions import TypeVar

import plugspace_queue
from plugspace_queue.domain.handles import TaskHandle
from plugspace_queue.domain.shapes import Shape
from plugspace_queue.domain.steps import InputFrom, OnFailure, Step, Takes, step
from plugspace_queue.domain.text import one_of
from plugspace_queue.errors import translated as _

if TYPE_CHECKING:
    from plugspace_queue.processing.context import Context

In = TypeVar("In", default=Any)
Out = TypeVar("Out", default=Any)

NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")

LONGEST_NAME = 32

RESERVED = frozenset(
    {
        # First segments of Redis keys that are not a queue's.
        *{"TASK", "WORKFLOW", "RESULT", "RATELIMIT", "USAGE", "ORG", "PAUSED", "EPOCH"},
        *{"RECONCILER", "EVENTS", "METRICS"},
        # Types of our own.
        *{"FUNCTION", "WEBHOOK", "OPERATION"},
    }
)
"""Names that no type may have: `plugspace:{queue}` would be a key that means something else."""


class Limiter:
    """At most `max` starts in `per` seconds (or a timedelta), over all workers."""

    __slots__ = ("max", "per")

    def __init__(self, max: int, *, per: float | timedelta) -> None:
        self.max = max
        self.per = per.total_seconds() if isinstance(per, timedelta) else float(per)

    def __repr__(self) -> str:
        return f"Limiter({self.max}, per={self.per:g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limiter) and (self.max, self.per) == (other.max, other.per)

    def __hash__(self) -> int:
        return hash((self.max, self.per))


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a type was declared with; None: as the settings say. Durations are seconds."""

    input: Any = Any
    """A pydantic model, a dataclass, or any type that pydantic can validate."""
    output: Any = Any
    concurrency: int = 5
    """Slots of one worker process."""
    default_priority: int = 2
    """Priority of a task whose organization has no tier."""
    limiter: Limiter | None = None
    """None: no limit of starts."""
    timeout: float | None = None
    """Of one attempt."""
    ttl: int | None = None
    """Of the wait for the first start."""
    max_retries: int | None = None
    backoff_delay: float | None = None
    """Before the first retry; each later one waits twice as long."""
    backoff_jitter: float | None = None
    retry_on: tuple[type[BaseException], ...] = ()
    """Exceptions worth another run."""
    isolation: str | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)
    """Tasks per month by tier; "*" is every other tier; -1 is no limit."""
    label: str = ""
    internal: bool = False
    """Submitted from Python only, and shown to no tenant."""
    former_outputs: tuple[Any, ...] = ()
    """The models of outputs that `output` has taken the place of."""
    upgrade: Callable[[dict[str, Any]], Any] | None = None
    """Brings an input that was stored for an earlier model into the form of today's."""


class TaskTypes(type):
    """The class `TaskType` as a collection: its types in the order of their declarations."""

    def __iter__(cls) -> "Iterator[TaskType]":
        return iter(tuple(DECLARED.values()))

    def __len__(cls) -> int:
        return len(DECLARED)

    def __contains__(cls, name: object) -> bool:
        return name in DECLARED

    def __getattr__(cls, name: str) -> "TaskType":
        if name in DECLARED:
            return DECLARED[name]
        raise AttributeError(f"No task type {name} is declared.")


class TaskType(str, Generic[In, Out], metaclass=TaskTypes):
    """A kind of work; each has a queue of its own."""

    declaration: Declaration
    input: Shape[In]
    """The model of its inputs."""
    output: Shape[Out]
    """The model of its outputs."""
    queue_name: str
    """The RQ queue's name: the lower-case word."""
    is_internal: bool
    """Whether only Python submits it and no tenant sees it."""

    def __new__(cls, name: object) -> "TaskType":
        """The declared type of this name; raises ValueError when there is none."""
        found = DECLARED.get(str(name))
        if found is None:
            raise ValueError(
                _("There is no task type %(name)r: it is one of %(names)s.")
                % {"name": name, "names": ", ".join(DECLARED)}
            )
        return found

    def __repr__(self) -> str:
        return f"<TaskType.{self.value}>"

    def __reduce__(self) -> Any:
        return of_row, (self.value,)

    def __copy__(self) -> "TaskType[In, Out]":
        return self

    def __deepcopy__(self, memo: object) -> "TaskType[In, Out]":
        return self

    @property
    def value(self) -> str:
        """The name as a plain string."""
        return str(self)

    @property
    def label(self) -> str:
        """What people read: as declared, else the name."""
        return self.declaration.label or str(self)

    @property
    def is_declared(self) -> bool:
        """Whether this process knows the type; rows may have one that was dropped."""
        return self in DECLARED

    def step(
        self,
        *,
        name: str | None = None,
        after: Sequence[Step | str] | None = None,
        skip: str | None = None,
        on_failure: OnFailure = "cancel",
        takes: Takes | None = None,
        input_from: InputFrom | None = None,
    ) -> Step:
        """A step of this type, for `workflow_kind`.

        `name` is unique in its kind (default: the TYPE). `after` lists the steps that it waits
        for: steps, names or types. When no step of a kind has `after`, each waits for the one
        before it. `skip` names a switch in `options` of the workflow's input that leaves the step
        out; what waited for it then waits for the steps before it. With `on_failure="continue"`
        what waits for the step still runs when it fails or expires.

        The step takes those fields of the workflow's input that its model knows.
        `takes(input, steps)` is called before that, at the submit, with the workflow's input and
        the names of the steps before this one that run; the fields are taken of what it returns.
        `input_from(input, results)` is called at each start with the step's input as JSON data, in
        which fields with `From` are filled, and the outputs of the steps before it by name; it
        returns the whole input.
        """
        return step(
            self,
            name=name,
            after=after,
            skip=skip,
            on_failure=on_failure,
            takes=takes,
            input_from=input_from,
        )

    @overload
    def processor(self, function: "Sync[In, Out]", /) -> "Sync[In, Out]": ...
    @overload
    def processor(self, function: "Async[In, Out]", /) -> "Async[In, Out]": ...
    @overload
    def processor(self, /, **options: Any) -> "Decorator[In, Out]": ...
    def processor(self, function: Any = None, /, **options: Any) -> Any:
        """Decorator for a function or coroutine, with the options of `processor`, or none."""
        register = Decorator(self, options)
        return register if function is None else register(function)

    def submit(
        self,
        input: In,
        *,
        organization: str,
        project: str,
        user: str,
        priority: int | None = None,
        context: Mapping[str, Any] | None = None,
        max_retries: int | None = None,
        ttl: int | None = None,
        run_at: datetime | None = None,
        depends_on: Iterable[Any] = (),
        idempotency_key: str | None = None,
        limit_requests: bool = True,
    ) -> TaskHandle[Out]:
        """`queue_manager.add_task` for this type, with a typed input; raises what that raises."""
        task = plugspace_queue.queue_manager.add_task(
            self,
            organization_id=organization,
            project_id=project,
            user_id=user,
            input=self.input.as_data(input),
            priority=priority,
            context=context,
            max_retries=max_retries,
            ttl=ttl,
            run_at=run_at,
            depends_on=depends_on,
            idempotency_key=idempotency_key,
            limit_requests=limit_requests,
        )
        return TaskHandle(task)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # A reference: one component in documents. Reads the registry late, as types come later.
        return core_schema.no_info_plain_validator_function(
            _read, ref="TaskType", serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = [kind.value for kind in TaskType if not kind.is_internal]
        text = (cls.__doc__ or "").strip()
        return {"description": text, "enum": names, "title": "TaskType", "type": "string"}


Sync = Callable[["Context[In]"], Out]
Async = Callable[["Context[In]"], Awaitable[Out]]


class Decorator(Generic[In, Out]):
    """Registers a function as the processor of a type."""

    def __init__(self, kind: TaskType[In, Out], options: Mapping[str, Any]) -> None:
        self._register = plugspace_queue.processor(kind, **options)

    @overload
    def __call__(self, function: "Sync[In, Out]", /) -> "Sync[In, Out]": ...
    @overload
    def __call__(self, function: "Async[In, Out]", /) -> "Async[In, Out]": ...
    def __call__(self, function: Any, /) -> Any:
        return self._register(function)


DECLARED: dict[str, TaskType] = {}
"""The declared types by name, in order."""


def made(name: str, declaration: Declaration) -> TaskType:
    """A type of this name that is not in the registry."""
    kind: TaskType = str.__new__(TaskType, name)
    describe(kind, declaration)
    return kind


def describe(kind: TaskType, declaration: Declaration) -> None:
    """Give a type another declaration; it stays the same object for all who hold it."""
    kind.declaration = declaration
    kind.queue_name, kind.is_internal = queue_of(kind), declaration.internal
    kind.input, kind.output = Shape(declaration.input), Shape(declaration.output)


def of_row(name: str) -> TaskType:
    """The type that a row names; one that was dropped is a type without models or limits.

    >>> of_row("GONE").queue_name, of_row("GONE").is_declared
    ('gone', False)
    """
    return DECLARED.get(name) or made(name, Declaration())


def queue_of(name: str) -> str:
    """The RQ queue of the type that a row names, declared or not.

    >>> queue_of("CODE")
    'code'
    """
    return name.lower()


def quota_of(task_type: str, tier: str, given: Mapping[str, int], default: int) -> int:
    """Tasks per month of a type in a tier: as given for the type, as it declares, or the default.

    >>> quota_of("CODE", "free", {}, 0), quota_of("CODE", "free", {"CODE": 7}, 0)
    (5, 7)
    """
    if task_type in given:
        return int(given[task_type])
    declared = of_row(task_type).declaration.quotas
    return declared.get(tier, declared.get("*", default))


def _read(value: object) -> TaskType:
    """What we send holds types of rows, which may have been dropped since."""
    if isinstance(value, str) and NAME.match(value):
        return of_row(str(value))
    return known(value)


def known(value: object) -> TaskType:
    """A declared type that callers may name, for fields of requests."""
    found = DECLARED.get(value) if isinstance(value, str) else None
    if found is None or found.is_internal:
        names = [kind.value for kind in TaskType if not kind.is_internal]
        raise PydanticKnownError("enum", {"expected": one_of(names)})
    return found
