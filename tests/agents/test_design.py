"""Every design can be read: contrast is measured on the colours that are given out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugspace_queue.schemas.design import DesignOutput
from project.agents.architecture import library
from project.agents.design.moods import MOODS
from project.agents.design.oklch import contrast, parse, to_hex
from tests.agents.making import make_design, make_plan

COLORS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def unreadable(design: DesignOutput) -> list[tuple[str, str, str]]:
    found = []
    for pair in design.contrast:
        palette = design.light if pair.scheme == "light" else design.dark
        front, back = getattr(palette, pair.foreground), getattr(palette, pair.background)
        if contrast(front, back) < pair.minimum:
            found.append((pair.scheme, pair.foreground, pair.background))
    return found


@settings(max_examples=40, deadline=None)
@given(colors=st.lists(COLORS, min_size=1, max_size=3), mood=st.sampled_from(sorted(MOODS)))
def test_any_brand_colour_gives_readable_text_in_both_schemes(colors: list[str], mood: str) -> None:
    design = make_design(brandColors=colors, mood=mood)

    assert unreadable(design) == []
    assert all(pair.passes for pair in design.contrast)


@given(COLORS)
def test_a_colour_survives_its_way_through_oklch(color: str) -> None:
    there_and_back = to_hex(parse(color))

    for at in (1, 3, 5):
        assert abs(int(color[at : at + 2], 16) - int(there_and_back[at : at + 2], 16)) <= 1


def test_contrast_is_that_of_the_wcag() -> None:
    assert contrast("#000", "#fff") == 21
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_a_readable_brand_colour_is_kept_as_it_is() -> None:
    assert make_design(brandColors=["#1f4fd8"]).light.primary == "#1f4fd8"


@pytest.mark.parametrize("industry", sorted(library.briefs()))
def test_every_industry_has_a_face_of_its_own(industry: str) -> None:
    design = make_design(make_plan("A site", industry=industry))

    assert unreadable(design) == []
    assert len(design.model_dump_json()) < 200_000


def test_the_plan_decides_scheme_mood_and_shape() -> None:
    design = make_design(make_plan("A shop", "darker, rounder, more elegant"))

    assert (design.scheme, design.shape, design.mood) == ("dark", "round", "elegant")


def test_the_context_wins_over_the_plan() -> None:
    assert make_design(make_plan(), mood="playful").mood == "playful"
    assert make_design(industry="restaurant").mood == "warm"
    assert make_design(make_plan("A SaaS dashboard"), industry="restaurant").mood == "warm"


def test_the_same_wish_gives_the_same_design() -> None:
    assert make_design(make_plan()) == make_design(make_plan())


def test_a_reference_image_is_noted_and_never_fetched() -> None:
    design = make_design(referenceImage="http://127.0.0.1:9/a.png")

    assert "not fetched" in design.notes[0]


def test_tokens_name_every_colour_in_both_schemes() -> None:
    tokens = make_design().tokens

    assert set(tokens.light) == set(tokens.dark)
    assert {"--text", "--background", "--primary", "--chart-1"} <= set(tokens.light)
