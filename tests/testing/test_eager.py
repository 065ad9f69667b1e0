"""`eager`: what is submitted has run when the submit returns."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from plugspace_queue.testing import assert_state, eager, processors
from tests.testing.host import start_workflow, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fakes")]


def refuse(context):
    raise errors.ValidationFailed("no")


def test_a_submitted_task_comes_back_complete_and_others_stay():
    waiting = submit("ANALYZE")

    with eager():
        task = submit()

    assert (task.state, task.attempt_count) == ("complete", 1)
    assert_state(waiting, "waiting")
    assert submit().state == "waiting"


def test_a_bulk_comes_back_complete():
    submit()
    items = [
        {
            "type": kind,
            "project_id": "p",
            "user_id": "u",
            "organization_id": "acme",
            "input": {},
        }
        for kind in ("CODE", "EXPORT")
    ]

    with eager():
        assert {task.state for task in queue_manager.add_tasks(items)} == {"complete"}


@eager()
def test_a_workflow_is_complete_when_it_is_started():
    steps = start_workflow()

    assert {step.state for step in steps} == {"complete"}
    assert queue_manager.get_workflow(steps[0].workflow_id).status == "complete"


def test_a_failing_task_does_not_raise_and_a_retry_runs_at_once():
    with eager():
        with processors({"ARCHITECT": refuse}):
            steps = start_workflow()
            single = submit()
        assert [step.state for step in steps] == ["failed", "cancelled", "cancelled"]
        assert single.state == "failed"

        assert queue_manager.retry(single.pk).state == "complete"
        assert queue_manager.retry_workflow(steps[0].workflow_id).status == "complete"


def test_backoffs_are_skipped():
    def once_busy(context):
        if context.attempt == 1:
            raise errors.ExternalServiceError("away")
        return {"attempt": context.attempt}

    with eager(), processors({"ARCHITECT": once_busy}):
        assert submit().result == {"attempt": 2}


def test_a_processor_that_submits_has_the_other_result_at_once():
    def work(context):
        return {"inner": submit("CODE").result["attempt"]}

    with eager(), processors({"ARCHITECT": work}):
        assert submit().result == {"inner": 1}


def test_a_replay_runs_nothing_again():
    with eager():
        first = submit(idempotency_key="k")
        again = submit(idempotency_key="k")

    assert (first.pk, again.state, again.attempt_count) == (again.pk, "complete", 1)


def test_the_awaitable_twins_are_eager_too():
    submit()

    async def go() -> Task:
        task = await queue_manager.aadd_task(
            "CODE", project_id="p", user_id="u", organization_id="acme", input={}
        )
        await sync_to_async(connections.close_all)()
        return task

    with eager():
        assert asyncio.run(go()).state == "complete"


def test_gates_refuse_as_ever():
    with eager(), pytest.raises(errors.ValidationRefused):
        submit("ARCHITECT", input={"unknown": 1})
    assert not Task.objects.exists()


def test_what_a_caller_rolls_back_is_gone_and_redis_never_heard_of_it(redis):
    with eager(), transaction.atomic():
        assert submit().state == "complete"
        transaction.set_rollback(True)

    assert not Task.objects.exists()
    assert not redis.exists(keys.wait("architect"))


def test_without_redis_it_runs_all_the_same(redis_away):
    redis_away()

    with eager():
        assert submit().state == "complete"
