"""Feedback goes along a chain of iterations, and never without bound."""

import json

import pytest
from django.test import override_settings

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import agent_task, snapshot
from plugspace_queue.services.dependencies import LONGEST_HISTORY, MOST_INHERITED
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

LONG = "x" * 4000


@pytest.fixture(autouse=True)
def acme() -> None:
    make_organization()


def iteration_of(parent: Task, *remarks: str) -> Task:
    context = {"parentTaskId": str(parent.pk), "userFeedback": list(remarks)}
    return queue_manager.add_task(**arguments(context=context), limit_requests=False)


def bytes_of(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def test_a_chain_keeps_its_newest_remarks():
    task = queue_manager.add_task(**arguments(context={"userFeedback": ["0"]}))

    for at in range(3):
        task = iteration_of(task, *(f"{at}.{n}" for n in range(50)))

    kept = task.context["userFeedback"]
    assert len(kept) == LONGEST_HISTORY
    assert (kept[0], kept[-1]) == ("1.0", "2.49")


def test_inherited_remarks_have_a_limit_in_bytes_and_ones_own_are_all_kept():
    task = queue_manager.add_task(**arguments(context={"userFeedback": ["first", "é" * 4000]}))
    for _ in range(5):
        task = iteration_of(task, *["é" * 4000] * 5)

    heir = iteration_of(task, "last")
    loud = iteration_of(task, *[LONG] * 60)

    assert heir.context["userFeedback"][-2:] == ["é" * 4000, "last"]
    assert MOST_INHERITED - 8010 < bytes_of(heir.context["userFeedback"]) <= MOST_INHERITED
    assert loud.context["userFeedback"] == [LONG] * 60


def test_a_context_counts_into_the_largest_input():
    with override_settings(PLUGSPACE_QUEUE={"MAX_INPUT": 10_000}):
        parent = queue_manager.add_task(**arguments(context={"userFeedback": [LONG, LONG]}))
        with pytest.raises(errors.PayloadTooLarge) as refused:
            iteration_of(parent, LONG, LONG, LONG)
        with pytest.raises(errors.PayloadTooLarge):
            queue_manager.add_task(
                **arguments(input={"prompt": LONG}, context={"userFeedback": [LONG, LONG]})
            )
        with pytest.raises(errors.PayloadTooLarge):
            queue_manager.add_workflow(
                "site", "ann", "acme", {"prompt": LONG}, context={"userFeedback": [LONG, LONG]}
            )

    assert refused.value.details["limit"] == 10_000
    assert refused.value.details["size"] > 12_000
    assert Task.objects.count() == 1


def test_a_large_context_is_left_out_of_redis_with_a_note_and_stays_in_the_row(redis):
    task = queue_manager.add_task(**arguments(context={"userFeedback": [LONG] * 10}))

    told = json.loads(redis.get(keys.task(str(task.pk))))

    assert told["context"] is None
    assert told["contextOmitted"] is True
    assert len(snapshot(task)) < 2000
    assert agent_task(task).to_wire()["context"]["userFeedback"] == [LONG] * 10


def test_what_a_follower_says_itself_wins_over_what_its_parents_were_told():
    parent = queue_manager.add_task(
        **arguments(context={"userFeedback": ["dark"], "maxIterations": 3})
    )

    own = {"userFeedback": ["light"], "maxIterations": 7}
    child = queue_manager.add_task(**arguments(depends_on=[parent], context=own))
    silent = queue_manager.add_task(**arguments(depends_on=[parent]))

    assert {key: child.context[key] for key in own} == own
    assert silent.context["userFeedback"] == ["dark"]
    assert silent.context["maxIterations"] == 3


def test_an_iteration_that_also_waits_for_others_adds_to_what_was_said():
    first = queue_manager.add_task(**arguments(context={"userFeedback": ["dark"]}))
    other = queue_manager.add_task(**arguments(context={"userFeedback": ["loud"]}))

    context = {"parentTaskId": str(first.pk), "userFeedback": ["bigger"]}
    task = queue_manager.add_task(**arguments(depends_on=[other], context=context))

    assert task.context["userFeedback"] == ["dark", "bigger"]
    assert task.context["parentTaskId"] == str(first.pk)


def test_the_context_of_a_followers_input_is_not_overruled_by_remarks_about_its_parent():
    parent = queue_manager.add_task(**arguments(context={"userFeedback": ["make it dark"]}))

    child = queue_manager.add_task(
        **arguments(type="DESIGN", input={"context": {"style": "light"}}, depends_on=[parent])
    )

    assert "userFeedback" not in child.context
