"""The input of a workflow, and the part of it that each step gets."""

from collections.abc import Callable, Sequence
from typing import Any

from plugspace_queue.domain.shapes import Shape
from plugspace_queue.domain.task_types import TaskType, of_row
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.base import WireModel
from plugspace_queue.schemas.design import DesignOutput
from plugspace_queue.schemas.inputs import (
    AnalyzeOptions,
    ArchitectContext,
    ArchitectOptions,
    CodeOptions,
    DesignContext,
    Prompt,
    WebAddress,
)
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.requests import stored_input

_DESIGNS = {"industry", "style", "brandColors", "referenceImage", "mood"}
_ARCHITECTS = {"industry", "style", "features", "targetAudience", "budget", "timeline"}


class WorkflowContext(ArchitectContext, DesignContext):
    """What is known about the site; each step takes the part it has use for."""


class WorkflowOptions(AnalyzeOptions, CodeOptions, ArchitectOptions):
    """Which steps are left out, and the switches of those that stay."""

    skip_design: bool | None = None
    skip_code: bool | None = None


class WorkflowInput(WireModel):
    """One input for all steps; which parts are needed depends on the kind."""

    prompt: Prompt | None = None
    url: WebAddress | None = None
    context: WorkflowContext | None = None
    options: WorkflowOptions | None = None
    architecture: ArchitectureOutput | None = None
    design: DesignOutput | None = None


INPUT = Shape(WorkflowInput)
Given = dict[str, Any]


def step_inputs(steps: Sequence[TaskType], given: Given) -> list[Given]:
    """The input of each step; raises ValidationRefused for missing input.

    `given` is the wire form of a WorkflowInput. A step has its input from there or from an
    earlier step, never from both.
    """
    _refuse_doubles(steps, given)
    made: set[str] = set()
    inputs = []
    for step in steps:
        taken = _TAKE[step](given, made)
        inputs.append(stored_input(of_row(step).input, taken))
        made.add(step)
    return inputs


def _refuse_doubles(steps: Sequence[TaskType], given: Given) -> None:
    for field, producer in (("architecture", "ARCHITECT"), ("design", "DESIGN")):
        if field in given and producer in steps:
            _refuse(field, f"is made by this workflow's {producer} step; leave it out")


def _analyze(given: Given, made: set[str]) -> Given:
    if "url" not in given:
        _refuse("url", "is needed by the ANALYZE step")
    return _present(url=given["url"], options=_part(given, "options", AnalyzeOptions))


def _architect(given: Given, made: set[str]) -> Given:
    prompt = given.get("prompt")
    if prompt is None and "ANALYZE" in made:
        prompt = f"Rebuild the site at {given['url']}."
    if prompt is None:
        _refuse("prompt", "is needed by the ARCHITECT step")
    return _present(
        prompt=prompt,
        context=_only(given, "context", _ARCHITECTS),
        options=_part(given, "options", ArchitectOptions),
    )


def _design(given: Given, made: set[str]) -> Given:
    _require_plan("DESIGN", given, made, ("architecture",))
    return _present(
        architecture=given.get("architecture"), context=_only(given, "context", _DESIGNS)
    )


def _code(given: Given, made: set[str]) -> Given:
    _require_plan("CODE", given, made, ("architecture", "design"))
    return _present(
        architecture=given.get("architecture"),
        design=given.get("design"),
        options=_part(given, "options", CodeOptions),
    )


_TAKE: dict[str, Callable[[Given, set[str]], Given]] = {
    "ANALYZE": _analyze,
    "ARCHITECT": _architect,
    "DESIGN": _design,
    "CODE": _code,
}


def _require_plan(step: str, given: Given, made: set[str], fields: Sequence[str]) -> None:
    is_made = made & {"ARCHITECT", "DESIGN"}
    if not is_made and not any(field in given for field in fields):
        _refuse(fields[0], f"is needed by the {step} step (or: {' or '.join(fields)})")


def _part(given: Given, field: str, model: type[WireModel]) -> Given | None:
    """The keys of a part that a step's own model knows."""
    return _only(given, field, {entry.alias for entry in model.model_fields.values()})


def _only(given: Given, field: str, names: set[str | None] | set[str]) -> Given | None:
    taken = {key: value for key, value in given.get(field, {}).items() if key in names}
    return taken or None


def _present(**values: Any) -> Given:
    return {name: value for name, value in values.items() if value is not None}


def _refuse(field: str, message: str) -> None:
    refuse(f"input.{field}", message)
