"""`run_pending` where commits are commits: what a worker would do, without one."""

import json
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from plugspace_queue import errors, queue_manager, signals
from plugspace_queue.broker import keys
from plugspace_queue.models import Task
from plugspace_queue.processing import registry
from plugspace_queue.testing import assert_state, processors, run_pending, running
from tests.testing.host import submit
from tests.worker.conftest import crew, until_final, until_running

__all__ = ["crew", "until_final", "until_running"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fakes")]


def always_busy(context):
    context.record_usage(tokens=10)
    raise errors.ExternalServiceError("away")


def test_a_task_that_ran_is_out_of_the_line_and_redis_knows_its_end(redis):
    task = submit()
    assert redis.llen(keys.wait("architect")) == 1

    assert [ran.state for ran in run_pending()] == ["complete"]

    assert redis.llen(keys.wait("architect")) == 0
    assert json.loads(redis.get(keys.task(str(task.pk))))["status"] == "complete"


def test_without_redis_a_chain_runs_all_the_same(redis_away):
    redis_away()
    parent = submit()
    child = submit("CODE", depends_on=[parent])

    run_pending()

    assert assert_state(child, "complete").result["results"] == sorted(
        ["ARCHITECT", str(parent.pk)]
    )


def test_a_retry_waits_for_its_backoff(redis):
    task = submit()
    with processors({"ARCHITECT": always_busy}):
        run_pending()

    row = assert_state(task, "retrying", "EXTERNAL_SERVICE_ERROR")
    assert (row.retry_count, row.attempt_count) == (1, 1)
    # A worker that is started now runs it.
    assert redis.zcard("rq:scheduled:architect") == 1
    assert run_pending() == []
    assert [ran.state for ran in run_pending(now=row.wake_at)] == ["complete"]


def test_advance_skips_the_backoff_up_to_the_last_retry():
    task = submit()

    with processors({"ARCHITECT": always_busy}):
        run_pending(advance=True)

    row = assert_state(task, "failed", "EXTERNAL_SERVICE_ERROR")
    assert (row.retry_count, row.attempts.count(), row.tokens_used) == (3, 4, 40)


def test_a_scheduled_task_runs_when_its_time_has_come_and_expires_after_its_ttl():
    later = timezone.now() + timedelta(days=1)
    punctual, late = submit(run_at=later), submit("CODE", run_at=later, ttl=60)
    assert run_pending() == []

    assert run_pending("ARCHITECT", now=later) == [punctual]
    run_pending(now=later + timedelta(seconds=61))

    assert assert_state(late, "expired", "EXPIRED").refunded_at


def test_a_backoff_counts_from_the_time_that_is_gone_by():
    later = timezone.now() + timedelta(days=1)
    task = submit(run_at=later)

    with processors({"ARCHITECT": always_busy}):
        run_pending(now=later)

    row = assert_state(task, "retrying")
    assert row.retry_count == 1
    assert row.wake_at >= later + timedelta(seconds=2)


def test_what_is_paused_stays_waiting():
    task = submit()
    queue_manager.pause("ARCHITECT")
    assert run_pending() == []
    queue_manager.resume("ARCHITECT")
    queue_manager.pause(organization_id="acme")
    assert run_pending() == []
    queue_manager.resume(organization_id="acme")

    assert run_pending() == [task]


def test_the_urgent_come_first_then_who_came_first():
    low, first, second = submit(priority=3), submit("CODE"), submit()

    assert run_pending() == [first, second, low]


def test_a_cancel_that_redis_did_not_hear_of_is_finished(redis_away):
    task = submit()
    redis_away()
    assert queue_manager.cancel(task.pk) == "waiting"

    run_pending()

    assert assert_state(task, "cancelled", "CANCELLED").attempt_count == 0


def test_a_running_task_sees_a_cancel_when_it_reports_progress():
    def work(context):
        context.report_progress(10)
        queue_manager.cancel(context.task_id)
        context.report_progress(20)
        context.check_cancelled()

    task = submit()
    with processors({"ARCHITECT": work}):
        run_pending()

    assert assert_state(task, "cancelled", "CANCELLED").progress["percent"] == 20


def test_progress_is_written_and_told_while_it_runs():
    told, rows = [], []

    def work(context):
        context.report_progress(40, stage="drawing")
        rows.append(Task.objects.get(pk=context.task_id).progress)
        context.log("a line")

    def hear(payload, **kwargs):
        told.append(payload["progress"])

    signals.task_progress.connect(hear)
    task = submit()
    with processors({"ARCHITECT": work}):
        run_pending()

    assert told == rows == [{"percent": 40.0, "stage": "drawing"}]
    assert assert_state(task, "complete").attempts.get().log == ["a line"]


def test_an_async_processor_sees_the_rows_of_the_test():
    told = []

    async def work(context):
        context.report_progress(50)
        return await sync_to_async(Task.objects.count)()

    def hear(payload, **kwargs):
        told.append(payload["progress"]["percent"])

    signals.task_progress.connect(hear)
    task = submit()
    with processors({"ARCHITECT": work}):
        run_pending()

    row = assert_state(task, "complete")
    assert (row.result, row.progress["percent"], told) == (1, 50.0, [50.0])


def test_what_a_processor_submits_runs_too():
    def work(context):
        submit("CODE", project_id="follow-up")

    submit()
    with processors({"ARCHITECT": work}):
        ran = run_pending()

    assert [task.type for task in ran] == ["ARCHITECT", "CODE"]


def test_an_endless_chain_is_reported(monkeypatch):
    monkeypatch.setattr(running, "MOST_ATTEMPTS", 5)

    def again(context):
        submit()

    submit()
    with processors({"ARCHITECT": again}), pytest.raises(RuntimeError, match="No end after 5"):
        run_pending()


def test_a_task_that_a_worker_runs_is_left_to_it(crew, until_running, until_final):
    def hold(context):
        while not (Task.objects.filter(type="CODE").exists()):
            context.check_cancelled()
        return {}

    task = submit()
    with processors({"ARCHITECT": hold}):
        crew("architect")
        until_running(task)
        # As if the worker's row were not written yet.
        Task.objects.filter(pk=task.pk).update(state="waiting")
        other = submit("DESIGN")
        assert run_pending() == [other]
        Task.objects.filter(pk=task.pk).update(state="processing")
        submit("CODE")
        assert until_final(task).attempt_count == 1


def test_a_named_type_needs_a_processor_and_others_wait():
    task = submit("DEPLOY")
    # The fixture of the fakes puts it back.
    registry.unregister("DEPLOY")

    assert run_pending() == []
    with pytest.raises(LookupError, match="DEPLOY"):
        run_pending("DEPLOY")
    assert_state(task, "waiting")


def test_until_knows_two_words():
    with pytest.raises(ValueError, match="until"):
        run_pending(until="twice")
