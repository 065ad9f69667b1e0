"""The CODE agent: writes a plan and a design out as files, and checks them before it gives them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from plugspace_queue.schemas.architecture import ArchitectureOutput, Page
from plugspace_queue.schemas.delivery import (
    Check,
    CheckReport,
    CodeOutput,
    GeneratedFile,
    PageRef,
)
from plugspace_queue.schemas.design import DesignOutput
from plugspace_queue.schemas.inputs import (
    ArchitectInput,
    CodeInput,
    CodeOptions,
    DesignInput,
)
from project.agents.architecture.architect import architect
from project.agents.code import checks
from project.agents.code.pages import Site
from project.agents.code.render import render
from project.agents.code.stylesheet import stylesheet
from project.agents.design.designer import design as make_design

MEDIA_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "py": "text/x-python",
    "md": "text/markdown",
}
CORNERS = {"sharp": 2, "soft": 8, "round": 16}

OnProgress = Callable[[float, str], None]


def code(
    request: CodeInput,
    *,
    architecture: ArchitectureOutput | None = None,
    design: DesignOutput | None = None,
    on_progress: OnProgress = lambda percent, stage: None,
) -> CodeOutput:
    """The files of a site; the same arguments give the same files.

    `on_progress` is called with percent and stage.
    """
    options = request.options or CodeOptions()
    plan = sound(request.architecture or architecture or _any_plan())
    look = request.design or design or make_design(DesignInput(), architecture=plan)
    files = _write(Site(plan, look), on_progress, storybook=bool(options.include_storybook))
    on_progress(85, "checking")
    report = None
    if options.include_tests or plan.include_tests:
        files |= _tests()
        report = _report(checks.check_site(files))
    return _output(plan, files, report)


def sound(plan: ArchitectureOutput) -> ArchitectureOutput:
    """The plan with one page a slug, an entry called index, and one section an id."""
    pages = list({page.slug: page for page in reversed(plan.pages)}.values())[::-1]
    if all(page.slug != "index" for page in pages):
        pages[0] = pages[0].model_copy(update={"slug": "index"})
    pages.sort(key=lambda page: page.slug != "index")
    return plan.model_copy(update={"pages": [_with_own_ids(page) for page in pages]})


def _with_own_ids(page: Page) -> Page:
    seen = {"main", "page-top"}
    sections = []
    for at, section in enumerate(page.sections):
        name = section.id if section.id not in seen else f"{section.id[:56]}-{at + 1}"
        seen.add(name)
        sections.append(section.model_copy(update={"id": name}))
    return page.model_copy(update={"sections": sections})


def _any_plan() -> ArchitectureOutput:
    return architect(ArchitectInput(prompt="A small website"))


def _write(site: Site, on_progress: OnProgress, *, storybook: bool) -> dict[str, str]:
    files = {"styles.css": stylesheet(site.design), "icon.svg": _icon(site.design)}
    pages = site.plan.pages
    for at, page in enumerate(pages):
        files[f"{page.slug}.html"] = site.page(page)
        on_progress(10 + 70 * (at + 1) / len(pages), f"page {page.slug}")
    if storybook:
        files["storybook/index.html"] = site.storybook()
    files["README.md"] = render("readme.md", site=site.plan, design=site.design)
    return files


def _icon(design: DesignOutput) -> str:
    colors = design.light
    return render(
        "icon.svg", primary=colors.primary, ink=colors.on_primary, radius=CORNERS[design.shape]
    )


def _tests() -> dict[str, str]:
    """The checks as a test that runs beside the site, with nothing but Python."""
    return {
        "tests/site_checks.py": Path(checks.__file__).read_text(encoding="utf-8"),
        "tests/test_site.py": render("test_site.py.txt"),
    }


def _report(found: list[checks.Result]) -> CheckReport:
    made = [
        Check(name=name, passed=not wrong, detail="; ".join(wrong)[:2_000]) for name, wrong in found
    ]
    passed = sum(check.passed for check in made)
    return CheckReport(ran=len(made), passed=passed, failed=len(made) - passed, checks=made)


def _output(
    plan: ArchitectureOutput, files: dict[str, str], report: CheckReport | None
) -> CodeOutput:
    written = [_file(path, content) for path, content in sorted(files.items())]
    total = sum(file.bytes for file in written)
    checked = f" {report.passed} of {report.ran} checks pass." if report else ""
    return CodeOutput(
        summary=(
            f"{plan.name}: {len(plan.pages)} pages in {len(written)} files, "
            f"{total / 1024:.0f} KiB, no scripts.{checked}"
        ),
        name=plan.name,
        entry="index.html",
        files=written,
        pages=[PageRef(slug=p.slug, title=p.title, path=f"{p.slug}.html") for p in plan.pages],
        bytes=total,
        tests=report,
    )


def _file(path: str, content: str) -> GeneratedFile:
    data = content.encode()
    return GeneratedFile(
        path=path,
        content=content,
        media_type=MEDIA_TYPES[path.rsplit(".", 1)[-1]],
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
