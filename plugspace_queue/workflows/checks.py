"""System checks of workflow kinds: what depends on the models of types, which hosts replace."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.utils.translation import gettext as _

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
            _(
                "%(task_type)s: From(%(source)r) of the field %(field)s names neither a"
                " declared task type nor a step."
            )
            % {"task_type": task_type, "source": field.source, "field": field.name},
            hint=_("Nothing ever fills the field: correct the name."),
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
            _("the task type %(type)s is not declared, or is internal.") % {"type": step.type},
            hint=_("Declare it in the task_types.py of an installed app, or take the step out."),
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
            _("From(%(source)r) of the field %(field)s may be one of %(names)s.")
            % {"source": field.source, "field": field.name, "names": names},
            hint=_("Give one of them that name, or fill the field by input_from."),
            id="psq.E032",
        )
    elif made:
        yield from _of_producer(kind, step, field, made[0])
    elif field.is_required and not _is_given(kind, step, field):
        yield _error(
            kind,
            step,
            _("no step before it makes %(source)s, which its field %(field)s needs.")
            % {"source": field.source, "field": field.name},
            hint=_(
                "Put that step before it, give the kind an input=… with the field, or give"
                " the step an input_from."
            ),
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
            _("the output of %(made)s does not fit its field %(field)s: %(fault)s.")
            % {"made": made.name, "field": field.name, "fault": fault},
            hint=_("Change one of the models, or convert the output by input_from."),
            id="psq.E033",
        )
    if made.may_fail and field.is_required and step.input_from is None:
        yield _error(
            kind,
            step,
            _('its field %(field)s needs the output of %(made)s, which has on_failure="continue".')
            % {"field": field.name, "made": made.name},
            hint=_("Give the field a default, for when that step fails."),
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
                _("its model has an option %(option)r, which also leaves out a step.")
                % {"option": option},
                hint=_("Name the switch of the step otherwise: skip=…"),
                id="psq.E035",
            )
        if step.skip is not None and switches is not None and step.skip not in switches:
            yield _error(
                kind,
                step,
                _("the input of the kind has no %(options)s.%(skip)s, so nothing can skip it.")
                % {"options": OPTIONS, "skip": step.skip},
                hint=_("Add it to the model that is the kind's input=…, as a bool with a default."),
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
    message = _("Workflow kind %(kind)r, step %(step)s: %(text)s")
    return Error(message % {"kind": kind.name, "step": step.name, "text": text}, hint=hint, id=id)
