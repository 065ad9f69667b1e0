"""System checks of workflow kinds: what depends on the models of types, which hosts replace."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning

from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.fields import Field, fields_of, sources_of
from plugspace_queue.domain.kinds import WorkflowKind, kinds
from plugspace_queue.domain.steps import Step, ancestors
from plugspace_queue.domain.task_types import TaskType, of_row
from plugspace_queue.workflows.definitions import OPTIONS, producers
from plugspace_queue.workflows.fit import misfit

Messages = Iterator[CheckMessage]


@checks.register("plugspace_queue")
def kinds_can_run(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each kind: its types, and that outputs of steps fit the fields that they fill."""
    return [message for kind in kinds().values() for message in _of_kind(kind)]


@checks.register("plugspace_queue")
def sources_exist(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each From names a type, or a step of a kind."""
    steps = {step.name for kind in kinds().values() for step in kind.steps}
    return [
        Warning(
            f"{task_type}: From({field.source!r}) of the field {field.name} names neither a"
            " declared task type nor a step.",
            hint="Nothing ever fills the field: correct the name.",
            id="psq.W030",
        )
        for task_type in TaskType
        for field in sources_of(task_type.input.type)
        if find(field.source or "") is None and field.source not in steps
    ]


def _of_kind(kind: WorkflowKind[Any]) -> Messages:
    unknown = [step for step in kind.steps if not _is_usable(step)]
    for step in unknown:
        yield _error(
            kind,
            step,
            f"the task type {step.type} is not declared, or is internal.",
            hint="Declare it in the task_types.py of an installed app, or take the step out.",
            id="psq.E030",
        )
    if unknown:
        return
    before = ancestors(kind.steps)
    yield from _of_switches(kind)
    for step in kind.steps:
        for field in sources_of(of_row(step.type).input.type):
            yield from _of_field(kind, step, field, before[step.name])


def _is_usable(step: Step) -> bool:
    found = find(step.type)
    return found is not None and not found.is_internal


def _of_field(kind: WorkflowKind[Any], step: Step, field: Field, before: Sequence[str]) -> Messages:
    made = producers(field.source or "", kind.steps, before)
    if len(made) > 1:
        names = ", ".join(one.name for one in made)
        yield _error(
            kind,
            step,
            f"From({field.source!r}) of the field {field.name} may be one of {names}.",
            hint="Give one of them that name, or fill the field by input_from.",
            id="psq.E032",
        )
    elif made:
        yield from _of_producer(kind, step, field, made[0])
    elif field.is_required and not _is_given(kind, step, field):
        yield _error(
            kind,
            step,
            f"no step before it makes {field.source}, which its field {field.name} needs.",
            hint="Put that step before it, give the kind an input=… with the field, or give the"
            " step an input_from.",
            id="psq.E031",
        )


def _of_producer(kind: WorkflowKind[Any], step: Step, field: Field, made: Step) -> Messages:
    shape = of_row(step.type).input
    output = of_row(made.type).output.type
    fault = misfit(output, field.annotation, is_closed=shape.refuses_unknown)
    if fault is not None and step.input_from is None:
        yield _error(
            kind,
            step,
            f"the output of {made.name} does not fit its field {field.name}: {fault}.",
            hint="Change one of the models, or convert the output by input_from.",
            id="psq.E033",
        )
    if made.may_fail and field.is_required and step.input_from is None:
        yield _error(
            kind,
            step,
            f"its field {field.name} needs the output of {made.name}, which has"
            ' on_failure="continue".',
            hint="Give the field a default, for when that step fails.",
            id="psq.E034",
        )


def _is_given(kind: WorkflowKind[Any], step: Step, field: Field) -> bool:
    """Whether something else than a step may fill a field."""
    if step.takes is not None or step.input_from is not None:
        return True
    model: Any = kind.input
    given = fields_of(model) if model is not None else ()
    return given is None or any(one.key == field.key for one in given)


def _of_switches(kind: WorkflowKind[Any]) -> Messages:
    """Each switch is an option of the whole input alone."""
    switches = _options_of(kind.input) if kind.input is not None else None
    for step in kind.steps:
        own = _options_of(of_row(step.type).input.type)
        for option in sorted(kind.skips.keys() & (own or set())):
            yield _error(
                kind,
                step,
                f"its model has an option {option!r}, which also leaves out a step.",
                hint="Name the switch of the step otherwise: skip=…",
                id="psq.E035",
            )
        if step.skip is not None and switches is not None and step.skip not in switches:
            yield _error(
                kind,
                step,
                f"the input of the kind has no {OPTIONS}.{step.skip}, so nothing can skip it.",
                hint="Add it to the model that is the kind's input=…, as a bool with a default.",
                id="psq.E036",
            )


def _options_of(model: Any) -> set[str] | None:
    """The keys of a model's options; None: any."""
    fields = fields_of(model)
    if fields is None:
        return None
    found = next((field for field in fields if field.key == OPTIONS), None)
    if found is None:
        return set()
    known = fields_of(found.annotation)
    return None if known is None else {field.key for field in known}


def _error(kind: WorkflowKind[Any], step: Step, text: str, *, hint: str, id: str) -> Error:
    return Error(f"Workflow kind {kind.name!r}, step {step.name}: {text}", hint=hint, id=id)
