"""The six workflow kinds of the seed: chains of its types, with one input for all steps."""

from collections.abc import Callable, Collection
from typing import Annotated, Any

from django.utils.translation import gettext as _

from plugspace_queue.domain.kinds import workflow_kind
from plugspace_queue.domain.steps import From, Json, Step, step
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
    architecture: Annotated[ArchitectureOutput | None, From("ARCHITECT")] = None
    design: Annotated[DesignOutput | None, From("DESIGN")] = None


def _planned(type: str, *fields: str) -> Callable[[Json, Collection[str]], Json]:
    """The input as it is; refused when neither an earlier step nor the caller made a plan."""

    def takes(given: Json, steps: Collection[str]) -> Json:
        is_made = "ARCHITECT" in steps or "DESIGN" in steps
        if not is_made and not any(field in given for field in fields):
            message = _("is needed by the %(type)s step (or: %(fields)s)")
            named = {"type": type, "fields": " or ".join(fields)}
            refuse(f"input.{fields[0]}", message % named)
        return given

    return takes


def _rebuild(given: Json, steps: Collection[str]) -> Json:
    """The input of a clone's ARCHITECT: without a prompt it rebuilds what is there."""
    return {"prompt": f"Rebuild the site at {given['url']}."} | dict(given)


def _require_design(given: Json, steps: Collection[str]) -> None:
    if "DESIGN" not in steps:
        refuse("input.options.skipDesign", _("leaves out the step that design-only is for"))


def _design() -> Step:
    return step("DESIGN", skip="skipDesign", takes=_planned("DESIGN", "architecture"))


def _code() -> Step:
    takes = _planned("CODE", "architecture", "design")
    return step("CODE", skip="skipCode", takes=takes)


def _chain(*steps: Step | str) -> dict[str, Any]:
    return {"steps": steps, "input": WorkflowInput}


CREATE = workflow_kind("create", **_chain("ARCHITECT", _design(), _code()))
CLONE = workflow_kind(
    "clone", **_chain("ANALYZE", step("ARCHITECT", takes=_rebuild), _design(), _code())
)
REFINE = workflow_kind(
    "refine", refines=("prompt", "context"), **_chain("ARCHITECT", _design(), _code())
)
DESIGN_ONLY = workflow_kind("design-only", check=_require_design, **_chain("ARCHITECT", _design()))
CODE_ONLY = workflow_kind("code-only", **_chain(_code()))
ANALYZE_ONLY = workflow_kind("analyze-only", **_chain("ANALYZE"))

KINDS = (CREATE, CLONE, REFINE, DESIGN_ONLY, CODE_ONLY, ANALYZE_ONLY)
