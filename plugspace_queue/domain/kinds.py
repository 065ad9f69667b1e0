"""Workflow kinds: declared while Django starts, in `task_types.py` of an app or in a catalogue.

What can be wrong with a graph by itself is refused at the declaration. What depends on the models
of task types is a system check (`workflows.checks`), as a host may replace those.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from asgiref.sync import sync_to_async
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from plugspace_queue.domain import catalog
from plugspace_queue.domain import steps as graphs
from plugspace_queue.domain.shapes import Shape, shape_of
from plugspace_queue.domain.steps import LONGEST_NAME, Json, KindRefusal, Step
from plugspace_queue.domain.text import one_of
from plugspace_queue.errors import CatalogFrozen, KindConflict
from plugspace_queue.errors import translated as _

if TYPE_CHECKING:
    from plugspace_queue.manager import QueueManager
    from plugspace_queue.workflows.submission import WorkflowHandle

In = TypeVar("In")
Check = Callable[[Json, Collection[str]], object]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WorkflowKind(Generic[In]):
    """A declared kind; each of its steps comes after those that it waits for."""

    name: str
    steps: tuple[Step, ...]
    input: type[In] | None = None
    """The model of the whole input; None: the fields that the models of its steps know."""
    refines: bool | tuple[str, ...] = False
    """Whether a workflow continues a task (`context.parentTaskId` is needed), and which fields of
    that task's input it takes where its own input omits them; True: all."""
    check: Check | None = None

    def __repr__(self) -> str:
        return f"<WorkflowKind {self.name}>"

    @cached_property
    def version(self) -> str:
        """A digest of the graph: equal for equal steps, links and rules."""
        digested = [
            [s.name, s.type, s.parents, s.skip, s.on_failure, s.input_from is not None]
            for s in self.steps
        ]
        return hashlib.sha256(json.dumps(digested).encode()).hexdigest()[:16]

    @property
    def shape(self) -> Shape[Any]:
        """How the whole input is validated; its model takes the outputs that are registered."""
        return shape_of(catalog.with_registered_outputs(self.input))

    @cached_property
    def skips(self) -> dict[str, str]:
        """Name of an option → name of the step that it leaves out."""
        return {s.skip: s.name for s in self.steps if s.skip is not None}

    def step_named(self, name: str) -> Step | None:
        """The step of this name, or None."""
        return next((s for s in self.steps if s.name == name), None)

    def submit(
        self,
        input: In | Json,
        *,
        organization: str,
        project: str,
        user: str,
        priority: int | None = None,
        context: Json | None = None,
        ttl: int | None = None,
        idempotency_key: str | None = None,
        limit_requests: bool = True,
    ) -> "WorkflowHandle":
        """Start a workflow of this kind; raises what `queue_manager.add_workflow` raises."""
        return _manager().add_workflow(
            project,
            user,
            organization,
            cast(Json, input),
            priority,
            kind=self.name,
            context=context,
            ttl=ttl,
            idempotency_key=idempotency_key,
            limit_requests=limit_requests,
        )

    async def asubmit(
        self,
        input: In | Json,
        *,
        organization: str,
        project: str,
        user: str,
        priority: int | None = None,
        context: Json | None = None,
        ttl: int | None = None,
        idempotency_key: str | None = None,
        limit_requests: bool = True,
    ) -> "WorkflowHandle":
        """Awaitable twin of `submit`."""
        return await sync_to_async(self.submit, thread_sensitive=True)(
            input,
            organization=organization,
            project=project,
            user=user,
            priority=priority,
            context=context,
            ttl=ttl,
            idempotency_key=idempotency_key,
            limit_requests=limit_requests,
        )


def _manager() -> "QueueManager":
    # Everything is below the manager, declarations too.
    return cast("QueueManager", import_module("plugspace_queue.manager").queue_manager)


@overload
def workflow_kind(
    name: str,
    *,
    steps: Sequence[Step | str],
    input: type[In],
    refines: bool | Sequence[str] = False,
    check: Check | None = None,
    replace: bool = False,
) -> WorkflowKind[In]: ...
@overload
def workflow_kind(
    name: str,
    *,
    steps: Sequence[Step | str],
    input: None = None,
    refines: bool | Sequence[str] = False,
    check: Check | None = None,
    replace: bool = False,
) -> WorkflowKind[Json]: ...
def workflow_kind(
    name: str,
    *,
    steps: Sequence[Step | str],
    input: type[Any] | None = None,
    refines: bool | Sequence[str] = False,
    check: Check | None = None,
    replace: bool = False,
) -> WorkflowKind[Any]:
    """Declare a kind of workflow, in a `task_types.py` of an installed app; return it.

    `name` is lower-case words with hyphens, at most 32 characters. `steps` are made by
    `TYPE.step()`; a type alone is a step without options. `input` is a model of the whole input.
    `refines` gives the kind the context of a refinement. `check(input, steps)` is called at each
    submit with the input and the names of the steps that will run; it raises ValueError to refuse
    them. `replace` takes the place of an earlier declaration.

    Raises InvalidKind with `details["reason"]`, KindConflict when the name is taken, CatalogFrozen
    after the start of Django.
    """
    refuse = KindRefusal(name)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        refuse(
            "name",
            _("a name is lower-case words with hyphens, at most %(longest_name)s characters.")
            % {"longest_name": LONGEST_NAME},
        )
    if isinstance(refines, str):
        refuse("refines", _("refines is True, False or a list of names of fields."))
    if check is not None and not callable(check):
        refuse("check", _("check is a function, not %(check)r.") % {"check": check})
    linked = graphs.linked(name, steps)
    for one in linked:
        if one.takes is not None and input is None:
            refuse(
                "takes", _("takes needs input=…, a model that says what the workflow takes."), one
            )
    kind = WorkflowKind(
        name=name,
        steps=linked,
        input=input,
        refines=refines if isinstance(refines, bool) else tuple(refines),
        check=check,
    )
    _declare(kind, replaces=replace)
    return kind


_kinds: dict[str, WorkflowKind[Any]] = {}
_is_frozen = False


def kinds() -> Mapping[str, WorkflowKind[Any]]:
    """All declared kinds by name, in the order of their declarations."""
    return _kinds


class KindOfRow(str):
    """The kind that a row names, in answers; it may have been dropped since."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # A reference, so that documents have one component for both. The registry is read when a
        # value is, as models are made before kinds are declared.
        return core_schema.no_info_plain_validator_function(
            cls.read, ref="Kind", serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = "The recipes of workflows."
        return {"description": text, "enum": list(_kinds), "title": "Kind", "type": "string"}

    @classmethod
    def read(cls, value: object) -> str:
        """Any name."""
        return str(value)


class KindName(KindOfRow):
    """A declared kind, in requests; others are refused with the list of all."""

    @classmethod
    def read(cls, value: object) -> str:
        """The name; raises pydantic's error."""
        if isinstance(value, str) and value in _kinds:
            # Converts a member of an enumeration to text.
            return _kinds[value].name
        raise PydanticKnownError("enum", {"expected": one_of(_kinds)})


def freeze() -> None:
    """Refuse further declarations: all processes of a project know the same kinds."""
    global _is_frozen
    _is_frozen = True


@contextmanager
def open_for_declarations() -> Iterator[None]:
    """Allow declarations in a block; afterwards kinds are as they were before it."""
    global _is_frozen
    known, was_frozen = dict(_kinds), _is_frozen
    _is_frozen = False
    try:
        yield
    finally:
        _kinds.clear()
        _kinds.update(known)
        _is_frozen = was_frozen


def _declare(kind: WorkflowKind[Any], *, replaces: bool) -> None:
    if _is_frozen:
        raise CatalogFrozen(
            _(
                "The kind %(kind)r is declared too late: put workflow_kind(…) into the"
                " task_types.py of an installed app, which is imported when Django starts."
            )
            % {"kind": kind.name},
            kind=kind.name,
        )
    if kind.name in _kinds and not replaces:
        raise KindConflict(
            _(
                "The kind %(kind)r is declared already; pass replace=True to change it, or"
                " take another name."
            )
            % {"kind": kind.name},
            kind=kind.name,
        )
    _kinds[kind.name] = kind
