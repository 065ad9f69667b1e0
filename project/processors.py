"""The processors of the six queues: each takes its context apart and lets an agent do the work."""

import os
from typing import Any, TypeVar

from django.conf import settings
from django.utils import timezone

from plugspace_queue import Context, exports, processor
from plugspace_queue.errors import ValidationFailed
from plugspace_queue.schemas.analysis import AnalysisOutput
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.base import WireModel
from plugspace_queue.schemas.delivery import CodeOutput, DeployOutput, ExportOutput
from plugspace_queue.schemas.design import DesignOutput
from project import environment
from project.agents.analysis.analyst import analyze
from project.agents.architecture.architect import architect
from project.agents.code.coder import code
from project.agents.delivery.archive import pack
from project.agents.delivery.publish import publish
from project.agents.design.designer import design
from project.sites import sites_root

M = TypeVar("M", bound=WireModel)


@processor("ARCHITECT", timeout=120)
def plan_site(context: Context) -> ArchitectureOutput:
    """A wish becomes a plan; the analysis of a clone and the feedback of a refinement count."""
    _tell(context, 10, "reading the wish")
    planned = architect(
        context.input,
        analysis=_result(context, "ANALYZE", AnalysisOutput),
        feedback=context.feedback,
        iteration=context.iteration,
    )
    context.log(planned.summary)
    return _done(context, planned)


@processor("DESIGN", timeout=120)
def design_site(context: Context) -> DesignOutput:
    """A plan gets its colours, type and space."""
    _tell(context, 20, "mixing colours")
    designed = design(
        context.input,
        architecture=_result(context, "ARCHITECT", ArchitectureOutput),
        feedback=context.feedback,
    )
    context.log(designed.summary)
    return _done(context, designed)


@processor("CODE", timeout=300)
def write_site(context: Context) -> CodeOutput:
    """A plan and a design become files."""
    written = code(
        context.input,
        architecture=_result(context, "ARCHITECT", ArchitectureOutput),
        design=_result(context, "DESIGN", DesignOutput),
        on_progress=lambda percent, stage: _tell(context, percent, stage),
    )
    context.log(written.summary)
    return _done(context, written)


@processor("ANALYZE", timeout=300, isolation="process")
def analyze_site(context: Context) -> AnalysisOutput:
    """An address of the web is visited and reported on.

    In a process of its own: parsers written in C read what strangers made, and a call in C can be
    ended with its process only.
    """
    found = analyze(
        context.input,
        allow_private=_allows_private(),
        on_progress=lambda percent, stage: _tell(context, percent, stage),
    )
    context.log(found.summary)
    return _done(context, found)


@processor("DEPLOY", timeout=120)
def deploy_site(context: Context) -> DeployOutput:
    """Files are published under /sites/."""
    _tell(context, 20, "writing files")
    published = publish(
        _code(context),
        root=sites_root(),
        organization_id=context.organization_id,
        site=context.input.name or context.project_id,
        target=context.input.target,
        idempotency_key=context.idempotency_key,
    )
    context.log(published.summary)
    return _done(context, published)


@processor("EXPORT", timeout=120)
def export_site(context: Context) -> ExportOutput:
    """Files are packed and kept for download."""
    _tell(context, 20, "packing")
    archive = pack(
        _code(context),
        ttl=context.input.ttl,
        now=timezone.now(),
        organization_id=context.organization_id,
        idempotency_key=context.idempotency_key,
    )
    _tell(context, 70, "storing")
    exports.put(
        archive.output.export_id,
        archive.data,
        ttl=context.input.ttl,
        filename=archive.output.filename,
        organization_id=context.organization_id,
    )
    context.log(archive.output.summary)
    return _done(context, archive.output)


def _allows_private() -> bool:
    default = bool(getattr(settings, "ANALYZE_ALLOW_PRIVATE", False))
    return environment.flag(os.environ, "ANALYZE_ALLOW_PRIVATE", default=default)


def _tell(context: Context, percent: float, stage: str) -> None:
    context.check_cancelled()
    context.report_progress(percent, stage=stage)


def _done(context: Context, output: M) -> M:
    context.check_cancelled()
    # A stand-in for what a model would bill: a token for every four characters written.
    context.record_usage(tokens=len(output.model_dump_json()) // 4)
    return output


def _result(context: Context, task_type: str, model: type[M]) -> M | None:
    found: Any = context.results.get(task_type)
    return model.from_wire(found) if found is not None else None


def _code(context: Context) -> CodeOutput:
    given: CodeOutput | None = context.input.code or _result(context, "CODE", CodeOutput)
    if given is None:
        raise ValidationFailed("There are no files: give `code`, or depend on a CODE task.")
    return given
