"""What a kind's declaration means for one submit: the steps that run, and the input of each.

The input of a workflow is given once. Each step takes the fields that its model knows, but for
those that the output of an earlier step fills.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from plugspace_queue.domain import steps as graphs
from plugspace_queue.domain.fields import Field, fields_of, part_of, sources_of, unknown_key
from plugspace_queue.domain.kinds import WorkflowKind
from plugspace_queue.domain.shapes import Shape
from plugspace_queue.domain.steps import Json, KindRefusal, Step
from plugspace_queue.domain.task_types import of_row
from plugspace_queue.models import Task
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.requests import stored_input, stored_object

OPTIONS = "options"
"""The field of a workflow's input that has the switches of steps."""

Given = dict[str, Any]


def stored_whole(kind: WorkflowKind[Any], given: Given, beside: int) -> Given:
    """The input of a workflow in its stored form; raises ValidationRefused, PayloadTooLarge."""
    if kind.input is not None:
        return _object(kind.shape, given, beside)
    stored = stored_object(given, beside)
    strange = unknown_key([model_of(s) for s in kind.steps], _without_switches(kind, stored))
    if strange is not None:
        refuse(f"input.{strange}", _("no step of %(kind)s takes it") % {"kind": kind.name})
    return stored


def steps_for(kind: WorkflowKind[Any], given: Json) -> tuple[Step, ...]:
    """The steps that run; raises ValidationRefused when none is left, or the kind refuses."""
    skipped = {name for option, name in kind.skips.items() if _is_on(option, given)}
    steps = graphs.without(kind.steps, skipped)
    if not steps:
        refuse("input.options", _("leave no step of %(kind)s") % {"kind": kind.name})
    if kind.check is not None:
        _call(kind.check, given, [s.name for s in steps])
    return steps


def step_inputs(kind: WorkflowKind[Any], steps: Sequence[Step], given: Json) -> list[Given]:
    """The input of each step; raises ValidationRefused for missing input.

    A field that the output of an earlier step fills must not be given.
    """
    before = graphs.ancestors(steps)
    _refuse_made(kind, steps, given, before)
    return [_input_of(kind, s, steps, given, before[s.name]) for s in steps]


def with_inherited(kind: WorkflowKind[Any], given: Json, refined: Task) -> Given:
    """The input of a refinement, with what it omits of the refined task's input."""
    earlier = refined.workflow.input if refined.workflow else refined.input
    if kind.refines is True:
        names = _inherited_names(kind, earlier)
    else:
        names = [name for name in kind.refines or () if name in earlier]
    return {name: earlier[name] for name in names} | dict(given)


def _inherited_names(kind: WorkflowKind[Any], earlier: Json) -> list[str]:
    """All that the kind takes, but for switches and for what its own steps make."""
    models = [kind.input] if kind.input else [model_of(s) for s in kind.steps]
    every = {s.name for s in kind.steps}
    made = {
        field.key
        for model in models
        for field in sources_of(model)
        if producers(field.source or "", kind.steps, every)
    }
    known = {name for model in models for name in part_of(model, earlier)}
    return [name for name in earlier if name in known - made - {OPTIONS}]


def model_of(step: Step) -> Any:
    """The model of a step's input; Any for a type that is not declared."""
    return of_row(step.type).input.type


def producers(source: str, steps: Sequence[Step], names: Collection[str]) -> list[Step]:
    """The steps of these names that a source means: by name, else all of that type."""
    among = [s for s in steps if s.name in names]
    return [s for s in among if s.name == source] or [s for s in among if s.type == source]


def _is_on(option: str, given: Json) -> bool:
    options = given.get(OPTIONS)
    value = options.get(option) if isinstance(options, Mapping) else None
    if value not in (None, True, False):
        refuse(f"input.{OPTIONS}.{option}", _("must be true or false"))
    return bool(value)


def _without_switches(kind: WorkflowKind[Any], given: Json) -> Given:
    """The input without the options that leave out steps, which no step takes."""
    options = given.get(OPTIONS)
    if not isinstance(options, Mapping) or not kind.skips:
        return dict(given)
    rest = {name: value for name, value in options.items() if name not in kind.skips}
    others = {name: value for name, value in given.items() if name != OPTIONS}
    return others | ({OPTIONS: rest} if rest else {})


def _refuse_made(
    kind: WorkflowKind[Any], steps: Sequence[Step], given: Json, before: Mapping[str, list[str]]
) -> None:
    fields: list[tuple[Field, Collection[str]]] = [
        (field, before.keys()) for field in sources_of(kind.shape.type)
    ]
    fields += [(field, before[s.name]) for s in steps for field in sources_of(model_of(s))]
    for field, names in fields:
        made = producers(field.source or "", steps, names)
        if made and given.get(field.key) is not None:
            message = _("is made by this workflow's %(made)s step; leave it out") % {
                "made": made[0].name
            }
            refuse(f"input.{field.key}", message)


def _input_of(
    kind: WorkflowKind[Any], step: Step, steps: Sequence[Step], given: Json, before: list[str]
) -> Given:
    shape = of_row(step.type).input
    model = shape.type
    seen = _call(step.takes, given, before) if step.takes else given
    if not isinstance(seen, Mapping):
        KindRefusal(kind.name)(
            "takes", _("takes returns a mapping, not %(seen).64s.") % {"seen": repr(seen)}, step
        )
    part = part_of(model, _without_switches(kind, seen))
    filled = {
        field.key for field in sources_of(model) if producers(field.source or "", steps, before)
    }
    if step.input_from is not None:
        if before:
            # What it will add is known at the start only.
            return _object(shape, part, may_lack=None)
        # All steps before it are left out.
        part = dict(step.input_from(part, {}))
    for field in fields_of(model) or ():
        if field.is_required and field.key not in part and field.key not in filled:
            refuse(f"input.{field.key}", _("is needed by the %(step)s step") % {"step": step.name})
    return _object(shape, part, may_lack=filled)


def _call(function: Callable[[Json, Collection[str]], Any], given: Json, names: list[str]) -> Any:
    try:
        return function(given, names)
    except ValueError as error:
        refuse("input", str(error))


def _object(shape: Shape[Any], value: object, beside: int = 0, **options: Any) -> Given:
    """The stored form of an input, which is an object for every type."""
    stored = stored_input(shape, value, beside, **options)
    return stored if isinstance(stored, dict) else refuse("input", _("must be an object"))
