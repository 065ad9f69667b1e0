"""The ARCHITECT agent: a wish, what is known beside it and what was said since become a plan."""

from plugspace_queue.schemas.analysis import AnalysisOutput
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.inputs import ArchitectContext, ArchitectInput, ArchitectOptions
from project.agents.architecture import clone, library, plan
from project.agents.architecture.draft import Draft
from project.agents.architecture.refine import refine
from project.agents.architecture.understanding import Wish, understand
from project.agents.chance import pick

SMALL_BUDGET_PAGES = 4


def architect(
    wish: ArchitectInput,
    *,
    analysis: AnalysisOutput | None = None,
    feedback: list[str] | None = None,
    iteration: int = 0,
) -> ArchitectureOutput:
    """The plan for a wish. The same arguments give the same plan."""
    context = wish.context or ArchitectContext()
    draft = _draft(wish.prompt, context, analysis)
    revisions = refine(draft, feedback or [])
    planned = plan.write(draft, context, iteration=iteration)
    planned.revisions = revisions[:100]
    planned.include_tests = bool((wish.options or ArchitectOptions()).include_tests)
    return planned


def _draft(prompt: str, context: ArchitectContext, analysis: AnalysisOutput | None) -> Draft:
    understood = understand(prompt, context, clone.words_of(analysis) if analysis else "")
    draft = _first_draft(prompt, context, understood)
    _size(draft, context)
    for feature in understood.features:
        draft.add_feature(feature)
    if understood.brief.industry == "saas":
        draft.add_feature(library.features()["dashboard"])
    if analysis:
        clone.take_over(draft, analysis)
    return draft


def _first_draft(prompt: str, context: ArchitectContext, wish: Wish) -> Draft:
    brief = wish.brief
    return Draft(
        brief=brief,
        name=wish.name or pick(brief.names, prompt, "name"),
        subject=wish.subject,
        audience=wish.audience or brief.audience,
        tagline=brief.tagline,
        description=brief.description,
        mood=wish.mood or brief.mood,
        seed=prompt,
        style=context.style or "",
        scheme=wish.scheme or "auto",
        colors=wish.colors,
        pages=[page.model_copy(deep=True) for page in brief.pages],
    )


def _size(draft: Draft, context: ArchitectContext) -> None:
    """A small budget keeps the pages that matter most; a large one adds proof and answers."""
    if context.budget == "low":
        closing = draft.pages[-1]
        draft.pages = [*draft.pages[:-1][: SMALL_BUDGET_PAGES - 1], closing]
    if context.budget == "high":
        draft.add_section("stats")
        draft.add_section("faq")
