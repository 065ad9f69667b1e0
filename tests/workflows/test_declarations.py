"""What a declaration of a kind makes of its steps, and what it refuses."""

from typing import Any

import pytest

from plugspace_queue import errors
from plugspace_queue.domain.kinds import kinds, workflow_kind
from plugspace_queue.domain.steps import ancestors, step, without

pytestmark = pytest.mark.usefixtures("declaring")

A, B = step("ARCHITECT"), step("DESIGN")
SEED = ["create", "clone", "refine", "design-only", "code-only", "analyze-only"]


def links(kind: Any) -> dict[str, tuple[str, ...]]:
    return {one.name: one.parents for one in kind.steps}


def named(name: str, *after: str, **options: Any) -> Any:
    return step("CODE", name=name, after=list(after), **options)


def test_steps_without_after_are_a_chain():
    kind = workflow_kind("chain", steps=["ARCHITECT", step("DESIGN"), step("CODE", name="again")])

    assert links(kind) == {"ARCHITECT": (), "DESIGN": ("ARCHITECT",), "again": ("DESIGN",)}
    assert kinds()["chain"] is kind


def test_steps_wait_for_steps_names_or_types_in_any_order():
    first = step("ANALYZE", name="look")
    kind = workflow_kind(
        "graph",
        steps=[
            step("CODE", after=[first, "DESIGN", "plan", "look"]),
            step("DESIGN", after=["look"]),
            step("ARCHITECT", name="plan", after=["ANALYZE"]),
            first,
        ],
    )

    assert links(kind) == {
        "look": (),
        "DESIGN": ("look",),
        "plan": ("look",),
        "CODE": ("look", "DESIGN", "plan"),
    }
    assert ancestors(kind.steps)["plan"] == ["look"]


def test_a_skipped_step_gives_its_place_to_the_steps_before_it():
    kind = workflow_kind(
        "skips",
        steps=[named("a"), named("b"), named("c", "a", "b"), named("d", "c"), named("e", "d", "a")],
    )

    left = without(kind.steps, {"c", "d"})

    assert {one.name: one.parents for one in left} == {"a": (), "b": (), "e": ("a", "b")}


@pytest.mark.parametrize(
    ("reason", "name", "steps"),
    [
        ("name", "Podcast", [A]),
        ("name", "two words", [A]),
        ("name", "-x", [A]),
        ("name", "x" * 33, [A]),
        ("name", "", [A]),
        ("name", 5, [A]),
        ("steps", "x", []),
        ("steps", "x", "ARCHITECT"),
        ("steps", "x", [named(f"s{at}") for at in range(51)]),
        ("step_name", "x", [A, "ARCHITECT"]),
        ("step_name", "x", [step("CODE", name="1st")]),
        ("step_name", "x", [step("CODE", name="x" * 33)]),
        ("after", "x", [A, step("CODE", after="ARCHITECT")]),
        ("after", "x", [A, step("CODE", after=A)]),  # type: ignore[arg-type]
        ("unknown_step", "x", [A, step("CODE", after=["DESIGN"])]),
        ("unknown_step", "x", [A, step("CODE", after=[B])]),
        ("ambiguous_step", "x", [named("a"), named("b"), step("DESIGN", after=["CODE"])]),
        ("cycle", "x", [named("a", "a")]),
        ("cycle", "x", [A, named("a", "c"), named("b", "a"), named("c", "b")]),
        ("skip", "x", [step("CODE", skip="skip code")]),
        ("skip", "x", [step("CODE", skip="skipIt"), step("DESIGN", skip="skipIt")]),
        ("on_failure", "x", [step("CODE", on_failure="stop")]),  # type: ignore[arg-type]
        ("takes", "x", [step("CODE", takes="no")]),  # type: ignore[arg-type]
        ("takes", "x", [step("CODE", takes=lambda given, steps: given)]),
        ("input_from", "x", [step("CODE", input_from=lambda given, results: given)]),
    ],
)
def test_what_cannot_be_a_kind_is_refused_with_its_reason(reason: str, name: Any, steps: Any):
    with pytest.raises(errors.InvalidKind) as refused:
        workflow_kind(name, steps=steps)

    assert refused.value.code == "INVALID_KIND"
    assert refused.value.details["reason"] == reason
    assert list(kinds()) == SEED


@pytest.mark.parametrize("option", ["check", "refines"])
def test_an_option_of_the_wrong_form_is_refused(option: str):
    with pytest.raises(errors.InvalidKind) as refused:
        workflow_kind("x", steps=[A], **{option: "prompt"})  # type: ignore[arg-type]

    assert refused.value.details["reason"] == option


def test_a_cycle_is_told_step_by_step():
    with pytest.raises(errors.InvalidKind, match="c after b after a after c"):
        workflow_kind("x", steps=[A, named("c", "b"), named("b", "a"), named("a", "c")])


def test_two_kinds_of_one_name_are_refused_unless_one_replaces_the_other():
    workflow_kind("podcast", steps=[A])

    with pytest.raises(errors.KindConflict) as refused:
        workflow_kind("podcast", steps=[B])
    assert refused.value.code == "KIND_CONFLICT"

    workflow_kind("podcast", steps=[B], replace=True)
    assert links(kinds()["podcast"]) == {"DESIGN": ()}


def test_the_version_is_that_of_the_graph():
    def version(*steps: Any) -> str:
        return workflow_kind("x", steps=steps, replace=True).version

    known = version(named("a"), named("b", "a"))

    assert version(named("a"), named("b", "a")) == known
    others = {
        version(named("a"), named("b")),
        version(named("a"), named("c", "a")),
        version(named("a", skip="skipA"), named("b", "a")),
        version(named("a", on_failure="continue"), named("b", "a")),
        version(named("a"), named("b", "a", input_from=lambda given, results: given)),
        version(named("a"), step("DESIGN", name="b", after=["a"])),
    }
    assert len(others | {known}) == 7


class TestAfterTheStart:
    """Outside of `declarations()`."""

    @pytest.fixture
    def declaring(self) -> None:
        """Django has started."""

    def test_no_kind_is_declared_any_more(self):
        with pytest.raises(errors.CatalogFrozen) as refused:
            workflow_kind("late", steps=[A])

        assert refused.value.code == "CATALOG_FROZEN"
        assert list(kinds()) == SEED
