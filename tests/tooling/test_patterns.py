"""No text makes a regular expression slow: twice the text takes at most 2.5 times the time."""

import contextlib
import re
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from django.urls.resolvers import RoutePattern
from pydantic import Field, TypeAdapter, ValidationError

from tests.growth import MOST, Maker, growth, is_linear, many
from tests.tooling import hostile, patterns
from tests.tooling.patterns import Found

FOUND = patterns.every()


def works(found: Found) -> dict[str, Callable[[str], object]]:
    """How the pattern is used, to calls that do so."""
    if found.uses == {"pydantic"}:
        return {"pydantic": _validated(found.text)}
    if found.uses == {"route"}:
        return {"route": RoutePattern(found.text, is_endpoint=True).regex.search}
    compiled = re.compile(found.text, found.flags)
    calls: dict[str, Callable[[str], object]] = {
        "find": lambda text: deque(compiled.finditer(text), maxlen=0),
        "match": compiled.match,
        "fullmatch": compiled.fullmatch,
    }
    return {use: calls[use] for use in found.uses or {"find"}}


def _validated(pattern: str) -> Callable[[str], object]:
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[str, Field(pattern=pattern)])

    def validate(text: str) -> None:
        with contextlib.suppress(ValidationError):
            adapter.validate_python(text)

    return validate


def texts(found: Found) -> list[Maker]:
    """What is hostile to the pattern; none when the table does not know it."""
    if found.uses != {"route"}:
        return hostile.TEXTS.get(found.text, [])
    before, _, rest = found.text.partition("<")
    makers = hostile.CONVERTERS.get(rest.partition(":")[0], [])
    return [lambda n, make=make: before + make(n) for make in makers]  # type: ignore[misc]


FIXED = [found for found in FOUND.values() if not found.is_made]
MADE = [
    Found(pattern, False, found.flags, found.uses, found.places)
    for found in FOUND.values()
    for pattern in (hostile.MADE.get(found.text, []) if found.is_made else ())
]


def named(found: Found) -> str:
    text = found.text[:30].encode("ascii", "replace").decode()
    return f"{found.places[0].rpartition('/')[2]}-{text}"


def test_every_regular_expression_has_hostile_text_in_the_table():
    unknown = [one for one in FIXED if not texts(one)]
    unknown += [one for one in FOUND.values() if one.is_made and one.text not in hostile.MADE]

    assert not unknown, "\n".join(f"{one.places}: {one.text!r}" for one in unknown)
    assert len(FIXED) > 70
    assert len(MADE) > 70


def test_the_table_knows_no_pattern_that_is_gone():
    fixed = {one.text for one in FIXED if one.uses != {"route"}}

    assert set(hostile.TEXTS) == fixed
    assert set(hostile.MADE) == {one.text for one in FOUND.values() if one.is_made}


def test_no_function_of_re_is_passed_on_where_its_pattern_could_not_be_found():
    assert patterns.passed_on() == []


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.parametrize("found", FIXED, ids=named)
def test_time_grows_with_the_text(found: Found):
    for use, work in works(found).items():
        for place, make in enumerate(texts(found)):
            assert is_linear(work, make), (found.places, use, place, found.text)


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.parametrize("found", MADE, ids=named)
def test_time_grows_with_the_text_for_patterns_that_are_made(found: Found):
    makers = texts(found) if found.uses == {"route"} else hostile.nearly(found.text)
    for use, work in works(found).items():
        for place, make in enumerate(makers):
            assert is_linear(work, make), (found.places, use, place, found.text)


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.parametrize(
    ("pattern", "make"),
    [
        (r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", many("a-")),
        (r":[^;{}]*?\b(black|white|red|navy)\b", many(":a")),
        (r"\s+[|:-]\s+", many(" ")),
        (r"url\([^)]*\)", many("url(")),
        (r"\b(?:title|hero)\b[^:]*(?:\bto\b|:)", many("title ")),
    ],
)
def test_the_measure_finds_what_is_quadratic(pattern: str, make: Maker):
    # One measure of so short a time may be spoilt by other processes.
    assert any(growth(works(Found(pattern))["find"], make) > MOST for _ in range(5))
