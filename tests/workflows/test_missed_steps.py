"""Steps that may fail: what waits for them runs without their output."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from plugspace_queue import errors, queue_manager, workflow_kind
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.explain.service import explain
from plugspace_queue.maintenance import expiry
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import MonthlyUsage, Task
from plugspace_queue.testing import processors, run_pending
from tests.workflows.podcasts import DOERS, declare_types

pytestmark = pytest.mark.django_db(transaction=True)

GIVEN = {"url": "https://pod/1", "words": 5, "title": "One"}
WHO = {"organization": "acme", "project": "show", "user": "ann"}


def broken(context: Any) -> Any:
    raise errors.TaskError("no summary today", code="NO_SUMMARY")


@pytest.fixture
def types(declare: Any) -> Any:
    queue_manager.set_organization("acme", tier="enterprise")
    return SimpleNamespace(**declare_types(declare))


def podcast(types: Any, **of_summary: Any) -> Any:
    return workflow_kind(
        "podcast",
        steps=[
            types.TRANSCRIBE.step(),
            types.SUMMARIZE.step(after=["TRANSCRIBE"], on_failure="continue"),
            types.CHAPTERS.step(after=["TRANSCRIBE"]),
            types.PUBLISH.step(after=["SUMMARIZE", "CHAPTERS"]),
        ],
    )


def steps_of(handle: Any) -> dict[str, Task]:
    rows = Task.objects.filter(workflow=handle.workflow_id).order_by("step")
    return {task.name_in_workflow: task for task in rows}


def states(handle: Any) -> dict[str, State]:
    return {name: State(task.state) for name, task in steps_of(handle).items()}


def run(*types: str, **doers: Any) -> None:
    with processors(DOERS | doers, output=None):
        run_pending(*types)


def status(handle: Any) -> Status:
    return queue_manager.get_workflow(handle.workflow_id).status


def used() -> dict[str, int]:
    return dict(MonthlyUsage.objects.values_list("type", "used"))


def test_what_waits_for_a_failed_step_runs_without_it_and_the_workflow_is_complete(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)

    run(SUMMARIZE=broken)

    done = steps_of(handle)
    assert states(handle) == {
        "TRANSCRIBE": State.COMPLETE,
        "SUMMARIZE": State.FAILED,
        "CHAPTERS": State.COMPLETE,
        "PUBLISH": State.COMPLETE,
    }
    assert done["PUBLISH"].result["summary"] is None
    assert done["PUBLISH"].result["results"] == ["CHAPTERS", "TRANSCRIBE"]
    assert status(handle) == Status.COMPLETE
    with pytest.raises(errors.InvalidState):
        queue_manager.retry_workflow(handle.workflow_id)


def test_a_failed_step_with_others_running_is_no_reason_to_wait(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run("TRANSCRIBE")

    run("SUMMARIZE", SUMMARIZE=broken)

    publish = steps_of(handle)["PUBLISH"]
    assert (publish.state, publish.open_deps) == (State.BLOCKED, 1)
    assert [one.type for one in explain(publish.pk).blocked_by] == ["CHAPTERS"]
    assert status(handle) == Status.PROCESSING
    run("CHAPTERS")
    assert states(handle)["PUBLISH"] == State.WAITING


def test_an_expired_step_is_missed_as_a_failed_one_is(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run("TRANSCRIBE")
    run("CHAPTERS")
    summary = Task.objects.filter(pk=steps_of(handle)["SUMMARIZE"].pk)
    summary.update(deadline=timezone.now() - timedelta(seconds=1))

    expiry.expire_due(timezone.now())

    assert states(handle)["SUMMARIZE"] == State.EXPIRED
    assert states(handle)["PUBLISH"] == State.WAITING
    assert used()["SUMMARIZE"] == 0
    run("PUBLISH")
    assert status(handle) == Status.COMPLETE


def test_a_cancelled_step_takes_along_what_waits_for_it(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run("TRANSCRIBE")

    queue_manager.cancel(steps_of(handle)["SUMMARIZE"].pk)

    assert states(handle)["PUBLISH"] == State.CANCELLED
    assert status(handle) == Status.PROCESSING
    run("CHAPTERS")
    assert status(handle) == Status.FAILED


def test_a_failure_before_a_step_that_may_fail_cancels_all_after_it(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)

    run(TRANSCRIBE=broken)

    assert list(states(handle).values()) == [State.FAILED] + [State.CANCELLED] * 3
    assert used() == {"TRANSCRIBE": 1, "SUMMARIZE": 0, "CHAPTERS": 0, "PUBLISH": 0}


def test_a_task_outside_of_the_workflow_does_not_go_on_without_the_step(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    summary = steps_of(handle)["SUMMARIZE"].pk
    outside = queue_manager.add_task(
        "EXPORT",
        project_id="show",
        user_id="ann",
        organization_id="acme",
        input={},
        depends_on=[summary],
    )

    run(SUMMARIZE=broken)

    outside.refresh_from_db()
    assert outside.state == State.CANCELLED
    assert states(handle)["PUBLISH"] == State.COMPLETE


def test_maintenance_releases_what_a_lost_follow_up_left_blocked(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    steps = steps_of(handle)
    now = timezone.now()
    for name, state in (("TRANSCRIBE", State.COMPLETE), ("SUMMARIZE", State.FAILED)):
        Task.objects.filter(pk=steps[name].pk).update(state=state, completed_at=now)
    Task.objects.filter(pk=steps["CHAPTERS"].pk).update(state=State.COMPLETE, completed_at=now)

    assert expiry.free_blocked(now, RowCursor([State.BLOCKED])) == 1

    assert states(handle)["PUBLISH"] == State.WAITING


def test_a_missed_step_that_runs_again_holds_what_still_waits(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run("TRANSCRIBE")
    run("SUMMARIZE", SUMMARIZE=broken)

    queue_manager.retry(steps_of(handle)["SUMMARIZE"].pk)

    assert steps_of(handle)["PUBLISH"].open_deps == 2
    run("CHAPTERS")
    assert states(handle)["PUBLISH"] == State.BLOCKED
    run("SUMMARIZE")
    run("PUBLISH")
    assert steps_of(handle)["PUBLISH"].result["summary"] == "5 of heard https://pod/1"


def test_a_missed_step_that_runs_again_changes_nothing_for_what_has_ended(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run(SUMMARIZE=broken)

    queue_manager.retry(steps_of(handle)["SUMMARIZE"].pk)
    run()

    assert set(states(handle).values()) == {State.COMPLETE}
    assert steps_of(handle)["PUBLISH"].result["summary"] is None


def test_a_workflow_is_retried_with_a_missed_step_only_if_what_follows_runs_again(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run(SUMMARIZE=broken, PUBLISH=broken)
    assert status(handle) == Status.FAILED

    queue_manager.retry_workflow(handle.workflow_id)

    assert states(handle) == {
        "TRANSCRIBE": State.COMPLETE,
        "SUMMARIZE": State.WAITING,
        "CHAPTERS": State.COMPLETE,
        "PUBLISH": State.BLOCKED,
    }
    assert steps_of(handle)["PUBLISH"].open_deps == 1
    run()
    assert steps_of(handle)["PUBLISH"].result["summary"] == "5 of heard https://pod/1"
    assert used() == {"TRANSCRIBE": 1, "SUMMARIZE": 2, "CHAPTERS": 1, "PUBLISH": 2}


def test_a_step_is_retried_alone_after_a_missed_one(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run(SUMMARIZE=broken, PUBLISH=broken)

    queue_manager.retry(steps_of(handle)["PUBLISH"].pk)

    assert states(handle)["PUBLISH"] == State.WAITING
    assert states(handle)["SUMMARIZE"] == State.FAILED


def test_a_workflow_of_missed_steps_alone_has_failed_and_is_retried(types: Any):
    kind = workflow_kind("one", steps=[types.TRANSCRIBE.step(on_failure="continue")])
    handle = kind.submit({"url": "u"}, **WHO)
    run(TRANSCRIBE=broken)
    assert status(handle) == Status.FAILED

    queue_manager.retry_workflow(handle.workflow_id)
    run()

    assert status(handle) == Status.COMPLETE


def test_a_step_lost_with_its_workers_is_missed(types: Any):
    handle = podcast(types).submit(GIVEN, **WHO)
    run("TRANSCRIBE")
    Task.objects.filter(pk=steps_of(handle)["SUMMARIZE"].pk).update(recovery_count=9)

    run()

    assert states(handle)["SUMMARIZE"] == State.FAILED
    assert steps_of(handle)["SUMMARIZE"].error["code"] == "WORKER_LOST"
    assert states(handle)["PUBLISH"] == State.COMPLETE
    assert used()["SUMMARIZE"] == 0
