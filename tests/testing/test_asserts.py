"""What the asserts accept, and what they say when they do not."""

import pytest

from plugspace_queue import errors
from plugspace_queue.processing import registry
from plugspace_queue.testing import (
    assert_no_tasks,
    assert_state,
    assert_submitted,
    processors,
    run_pending,
)
from tests.testing.host import submit

pytestmark = pytest.mark.django_db


def test_submitted_tasks_are_found_by_type_count_and_fields():
    first = submit(input={"prompt": "one", "context": {"style": "a", "industry": "b"}})
    second = submit(input={"prompt": "two"})

    assert assert_submitted("ARCHITECT") == [first, second]
    assert assert_submitted("ARCHITECT", 2, organization_id="acme") == [first, second]
    assert assert_submitted("ARCHITECT", 1, input__prompt="two") == [second]
    assert_submitted(
        "ARCHITECT", input={"context": {"industry": "b", "style": "a"}, "prompt": "one"}
    )
    assert assert_submitted("CODE", 0) == []
    assert assert_submitted("ARCHITECT", 0, input={"prompt": "three"}) == []


def test_a_wrong_expectation_is_told_with_what_is_there():
    submit()

    with pytest.raises(
        AssertionError, match=r"at least one of CODE.*\n.*ARCHITECT .* acme is wait"
    ):
        assert_submitted("CODE")
    with pytest.raises(AssertionError, match=r"Expected 2 of ARCHITECT, user_id='ann'; found 1"):
        assert_submitted("ARCHITECT", 2, user_id="ann")


def test_nothing_submitted():
    assert_no_tasks()
    submit()
    assert_no_tasks("CODE", "DESIGN")

    with pytest.raises(AssertionError, match="Expected no tasks"):
        assert_no_tasks()


def test_a_wrong_state_is_told_with_the_error_and_its_stack():
    def refuse(context):
        raise errors.ValidationFailed("no such site")

    task = submit()
    assert assert_state(str(task.pk), "waiting") == task
    with processors({"ARCHITECT": refuse}):
        run_pending()

    assert_state(task, "failed", "VALIDATION_ERROR")
    with pytest.raises(AssertionError, match=r"(?s)no such site.*in refuse"):
        assert_state(task, "complete")
    with pytest.raises(AssertionError, match="with TIMEOUT"):
        assert_state(task, "failed", "TIMEOUT")


def test_processors_come_back_after_the_block_even_when_it_raises():
    before = registry.processor_of("CODE")

    with pytest.raises(RuntimeError), processors({"CODE": print}, output=dict, timeout=3):
        assert registry.processor_of("CODE").function is print
        assert registry.timeout_of("CODE") == 3
        raise RuntimeError

    assert registry.processor_of("CODE") is before


def test_results_of_fakes_may_be_held_to_the_types_own_schema():
    task = submit()

    with processors({"ARCHITECT": lambda context: {"pages": "none"}}, output=None):
        run_pending()

    assert_state(task, "failed", "INVALID_RESULT")
