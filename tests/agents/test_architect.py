"""A wish in words becomes a plan that fits it, and feedback changes the plan."""

import time

import pytest

from plugspace_queue.schemas.analysis import AnalysisOutput
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.inputs import ArchitectInput
from project.agents.architecture import library
from project.agents.architecture.architect import architect
from tests.agents.making import SAAS, make_plan


def slugs(plan: ArchitectureOutput) -> list[str]:
    return [page.slug for page in plan.pages]


def kinds(plan: ArchitectureOutput) -> set[str]:
    return {section.kind for page in plan.pages for section in page.sections}


@pytest.mark.parametrize(
    ("prompt", "industry"),
    [
        (SAAS, "saas"),
        ("An online store for handmade ceramics", "shop"),
        ("A blog about slow travel", "blog"),
        ("My portfolio as a photographer", "portfolio"),
        ("A website for a small bakery", "restaurant"),
        ("Website for a dentist", "clinic"),
        ("A site for our language school", "school"),
        ("We are a branding agency", "agency"),
        ("A charity that needs volunteers", "nonprofit"),
        ("A page for our music festival", "event"),
        ("A yoga studio in Ghent", "fitness"),
        ("Apartments for rent", "realestate"),
        ("Something about stamps", "general"),
        ("привет", "general"),
    ],
)
def test_the_prompt_decides_the_industry(prompt: str, industry: str) -> None:
    assert make_plan(prompt).industry == industry


def test_an_industry_that_is_named_wins_over_the_prompt() -> None:
    assert make_plan("A shop", industry="clinic").industry == "clinic"


def test_the_same_wish_gives_the_same_plan() -> None:
    assert make_plan() == make_plan()


def test_a_saas_dashboard_has_pages_of_an_application_with_figures() -> None:
    plan = make_plan(industry="saas")

    assert {"dashboard", "pricing", "index"} <= set(slugs(plan))
    assert {"metrics", "chart", "table"} <= kinds(plan)
    assert "dashboard" in plan.summary


def test_the_total_of_the_dashboard_is_count_times_average() -> None:
    metrics = next(
        section.items
        for page in make_plan().pages
        for section in page.sections
        if section.kind == "metrics"
    )
    revenue, count, average = (
        float(item.value.strip("€").replace(",", "")) for item in metrics[:3]
    )

    assert revenue == pytest.approx(count * average, rel=0.001)


@pytest.mark.parametrize("brief", sorted(library.briefs()))
def test_every_brief_gives_a_plan_whose_links_all_lead_to_its_pages(brief: str) -> None:
    plan = make_plan("A site", industry=brief)
    known = set(slugs(plan))
    links = [*plan.navigation.primary, *plan.navigation.footer]
    links += [link for page in plan.pages for section in page.sections for link in section.actions]

    assert all(link.href.split("#")[0] in known for link in links if ":" not in link.href)
    assert "{" not in plan.model_dump_json().replace('{"', "").replace(":{", "").replace("{}", "")
    assert len(plan.model_dump_json()) < 200_000


def test_names_and_audiences_are_taken_from_the_prompt() -> None:
    plan = make_plan('A shop called Moon & Moth for candle lovers. It is "quiet".')

    assert plan.name == "Moon & Moth"
    assert plan.audience == "candle lovers"


def test_the_context_is_used() -> None:
    plan = make_plan(
        SAAS,
        targetAudience="hospital managers",
        style="dark and elegant",
        features=["booking"],
        budget="high",
        timeline="urgent",
    )
    calm = make_plan(SAAS, timeline="flexible", budget="low")

    assert "hospital managers" in plan.model_dump_json()
    assert (plan.direction.scheme, plan.direction.mood) == ("dark", "elegant")
    assert "booking" in slugs(plan)
    assert "faq" in {section.kind for section in plan.pages[0].sections}
    assert sum(m.days for m in plan.milestones) < sum(m.days for m in make_plan().milestones)
    assert len(calm.pages) < len(plan.pages)


@pytest.mark.parametrize(
    ("feedback", "check"),
    [
        ("Make it darker", lambda plan: plan.direction.scheme == "dark"),
        ("more playful please", lambda plan: plan.direction.mood == "playful"),
        ("use green", lambda plan: plan.direction.brand_colors == ["#2f8a4c"]),
        ("brand colour #12ab9f", lambda plan: plan.direction.brand_colors == ["#12ab9f"]),
        ("add a FAQ", lambda plan: "faq" in {s.kind for s in plan.pages[0].sections}),
        ("add a gallery page", lambda plan: "gallery" in slugs(plan)),
        ("add an imprint page", lambda plan: "imprint" in slugs(plan)),
        ("remove the testimonials", lambda plan: "testimonials" not in kinds(plan)),
        ("drop the pricing page", lambda plan: "pricing" not in slugs(plan)),
        ("remove the about page", lambda plan: "about" not in slugs(plan)),
        ("Rename it to Zig Zag", lambda plan: plan.name == "Zig Zag"),
        ("make the corners rounder", lambda plan: "round" in plan.direction.style),
        (
            'Change the headline to "Bread, and then some"',
            lambda plan: plan.pages[0].sections[0].heading == "Bread, and then some",
        ),
        ("make it shorter", lambda plan: len(plan.pages[0].sections) == 4),
    ],
)
def test_feedback_changes_the_plan_and_says_how(feedback: str, check) -> None:  # type: ignore[no-untyped-def]
    plan = make_plan(SAAS, feedback)

    assert check(plan)
    assert not check(make_plan())
    assert [revision.applied for revision in plan.revisions] == [True]
    assert plan.iteration == 1
    assert plan.summary.startswith("Revision 1")


def test_one_remark_may_hold_several_wishes() -> None:
    plan = make_plan(SAAS, "Make it darker, add a gallery page and remove the testimonials")

    assert plan.direction.scheme == "dark"
    assert "gallery" in slugs(plan)
    assert "testimonials" not in kinds(plan)
    assert len(plan.revisions) == 3


def test_feedback_that_is_not_understood_is_said_to_be_so() -> None:
    assert [revision.applied for revision in make_plan(SAAS, "flibber").revisions] == [False]


def test_links_to_a_removed_page_are_gone() -> None:
    plan = make_plan(SAAS, "remove the pricing page")

    hrefs = {
        link.href
        for page in plan.pages
        for section in page.sections
        for link in [*section.actions, *(item.link for item in section.items if item.link)]
    }
    assert "pricing" not in hrefs


def test_a_clone_takes_name_headline_pages_and_colours_from_the_analysis() -> None:
    page = {
        "status": 200,
        "links": {"internal": 0, "external": 0},
        "images": {"total": 0, "withoutAlt": 0},
        "words": 9,
        "bytes": 9,
        "ttfbMs": 1.0,
    }
    analysis = AnalysisOutput.from_wire(
        {
            "summary": "x",
            "url": "https://tulip.example/",
            "finalUrl": "https://tulip.example/",
            "title": "Tulip | Our restaurant",
            "pages": [
                {
                    **page,
                    "url": "https://tulip.example/",
                    "headings": [{"level": 1, "text": "Cooked {slowly}"}],
                },
                {
                    **page,
                    "url": "https://tulip.example/wine.html",
                    "title": "Wine | Tulip",
                    "headings": [{"level": 2, "text": "Red"}],
                },
            ],
            "design": {
                "colors": [
                    {"color": "#ffffff", "uses": 9, "share": 0.6},
                    {"color": "#b3123a", "uses": 6, "share": 0.4},
                ],
                "fonts": [],
                "customProperties": 0,
                "mediaQueries": 0,
            },
        }
    )
    plan = architect(ArchitectInput(prompt="Clone this site"), analysis=analysis)

    assert (plan.name, plan.industry) == ("Tulip", "restaurant")
    assert plan.pages[0].sections[0].heading == "Cooked (slowly)"
    assert "wine" in slugs(plan)
    assert plan.direction.brand_colors == ["#b3123a"]


@pytest.mark.parametrize(
    "prompt",
    ["a " * 10_000, "for " * 5_000, "for A" * 4_000, "the headline: " * 1_400, '"' * 20_000],
)
def test_a_hostile_prompt_costs_no_time(prompt: str) -> None:
    start = time.process_time()

    make_plan(prompt[:20_000], prompt[:4_000])

    assert time.process_time() - start < 2
