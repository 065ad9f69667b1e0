"""What the end of a step does to the next ones."""

import re
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.maintenance.relay import RowCursor, relay
from plugspace_queue.models import MonthlyUsage, Task
from plugspace_queue.services import termination
from plugspace_queue.services.step_inputs import merge, results_of
from tests.factories import arguments, completed_parents, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = {"prompt": "A shop"}


def steps_of(**changes):
    make_organization()
    handle = queue_manager.add_workflow("site", "ann", "acme", PROMPT, **changes)
    return list(Task.objects.filter(workflow=handle.workflow_id).order_by("step"))


def end(task, target, **fields):
    now = timezone.now()
    Task.objects.filter(pk=task.pk).update(state=State.PROCESSING, started_at=now)
    assert Task.objects.move(task.pk, State.PROCESSING, target, completed_at=now, **fields)


def complete(task, result=None):
    end(task, State.COMPLETE, result=result or {"of": task.type})
    with transaction.atomic():
        return termination.release_children(completed_parents(task.pk), timezone.now())


def test_the_next_step_is_released_with_a_ttl_of_its_own():
    architect, design, code = steps_of(ttl=60)
    Task.objects.update(queued_at=timezone.now() - timedelta(hours=5))

    assert complete(architect) == [design.pk]

    design.refresh_from_db()
    code.refresh_from_db()
    assert (design.state, design.open_deps) == (State.WAITING, 0)
    assert timedelta(0) < design.deadline - timezone.now() <= timedelta(seconds=60)
    assert code.state == State.BLOCKED
    assert complete(design) == [code.pk]
    assert complete(code) == []
    assert queue_manager.get_workflow(code.workflow_id).status == Status.COMPLETE


def test_a_released_step_whose_time_is_ahead_is_scheduled():
    make_organization()
    later = timezone.now() + timedelta(hours=1)
    parent = queue_manager.add_task(**arguments())
    child = queue_manager.add_task(**arguments(depends_on=[parent], run_at=later, ttl=60))

    complete(parent)

    child.refresh_from_db()
    assert (child.state, child.deadline) == (State.SCHEDULED, later + timedelta(seconds=60))


def test_a_failed_step_cancels_and_refunds_what_hangs_on_it():
    architect, design, code = steps_of()
    end(architect, State.FAILED, error={"code": "TIMEOUT"})

    cancelled = termination.cascade([architect.pk], timezone.now())

    assert cancelled == [design.pk, code.pk]
    for step in (design, code):
        step.refresh_from_db()
        assert (step.state, step.error["code"]) == (State.CANCELLED, "CANCELLED")
        assert step.refunded_at
    assert dict(MonthlyUsage.objects.values_list("type", "used")) == {
        "ARCHITECT": 1,
        "DESIGN": 0,
        "CODE": 0,
    }
    assert queue_manager.get_workflow(code.workflow_id).status == Status.FAILED
    assert termination.cascade([architect.pk], timezone.now()) == []


def test_a_child_of_two_parents_waits_for_both():
    make_organization()
    parents = [queue_manager.add_task(**arguments()) for _ in range(2)]
    child = queue_manager.add_task(**arguments(depends_on=[*parents, parents[0]]))
    assert child.open_deps == 2

    assert complete(parents[1]) == []
    assert complete(parents[0]) == [child.pk]


def test_both_parents_in_one_commit_release_the_child_once():
    make_organization()
    parents = [queue_manager.add_task(**arguments()) for _ in range(2)]
    child = queue_manager.add_task(**arguments(depends_on=parents))
    for parent in parents:
        end(parent, State.COMPLETE, result={})

    with transaction.atomic():
        released = termination.release_children(completed_parents(*parents), timezone.now())

    assert released == [child.pk]


def test_complete_parents_are_done_and_ended_ones_are_refused():
    make_organization()
    done = make_task(state=State.COMPLETE)

    assert queue_manager.add_task(**arguments(depends_on=[done])).state == State.WAITING
    for state in (State.FAILED, State.CANCELLED, State.EXPIRED):
        with pytest.raises(errors.InvalidState):
            queue_manager.add_task(**arguments(depends_on=[make_task(state=state)]))
    foreign = make_task(organization=make_organization("other"))
    with pytest.raises(errors.NotFound):
        queue_manager.add_task(**arguments(depends_on=[foreign]))


def test_a_follower_knows_whom_it_follows_and_its_parents_know_it():
    make_organization()
    parent = queue_manager.add_task(**arguments())

    child = queue_manager.add_task(**arguments(type="DEPLOY", depends_on=[parent]))

    assert child.context["parentTaskId"] == str(parent.pk)
    assert child.context["previousTasks"] == [str(parent.pk)]
    assert child.context["iterationCount"] == 0
    parent.refresh_from_db()
    assert parent.context["chainedTasks"] == [str(child.pk)]


def test_steps_get_the_results_of_all_steps_before_them():
    architect, design, code = steps_of()
    complete(architect, {"plan": 1})
    complete(design, {"face": 2})
    code.refresh_from_db()

    results = results_of([code])[code.pk]

    assert results == {"ARCHITECT": {"plan": 1}, "DESIGN": {"face": 2}}
    assert merge("CODE", code.input, results) == {
        "architecture": {"plan": 1},
        "design": {"face": 2},
    }


def test_followers_get_results_by_id_and_by_type():
    make_organization()
    code = queue_manager.add_task(**arguments(type="CODE"))
    deploy = queue_manager.add_task(**arguments(type="DEPLOY", depends_on=[code]))
    complete(code, {"files": []})

    results = results_of([deploy])[deploy.pk]

    assert results == {str(code.pk): {"files": []}, "CODE": {"files": []}}
    assert merge("DEPLOY", {"target": "preview"}, results)["code"] == {"files": []}


def test_what_the_caller_gave_is_not_replaced():
    assert merge("DESIGN", {"architecture": {"own": 1}}, {"ARCHITECT": {"other": 2}}) == {
        "architecture": {"own": 1}
    }


def test_results_of_many_tasks_cost_two_queries(django_assert_max_num_queries):
    steps = [step for _ in range(3) for step in steps_of()]
    other = queue_manager.add_task(**arguments())

    with django_assert_max_num_queries(2):
        results_of([*steps, other])


def test_cancelling_a_workflow_ends_all_that_is_open():
    architect, _design, code = steps_of()
    complete(architect)

    workflow = queue_manager.cancel_workflow(code.workflow_id)

    assert [step.state for step in workflow.tasks.order_by("step")] == [
        State.COMPLETE,
        State.CANCELLED,
        State.CANCELLED,
    ]
    with pytest.raises(errors.InvalidState):
        queue_manager.cancel_workflow(code.workflow_id)


def test_cancelling_a_workflow_locks_all_its_tasks_before_any_quota():
    (_, _, code) = steps_of()

    # As a view under ATOMIC_REQUESTS: every lock stands until the end.
    with transaction.atomic(), CaptureQueriesContext(connection) as asked:
        queue_manager.cancel_workflow(code.workflow_id)

    writes = [query["sql"] for query in asked if "UPDATE" in query["sql"]]
    tables = [_table(sql) for sql in writes]
    quotas = [at for at, table in enumerate(tables) if table == "plugspace_queue_monthlyusage"]
    assert len(quotas) == 3
    assert "plugspace_queue_task" not in tables[quotas[0] :]
    assert [_type_of(writes[at]) for at in quotas] == ["ARCHITECT", "CODE", "DESIGN"]


def _table(sql: str) -> str:
    return re.findall(r"plugspace_queue_\w+", sql)[0]


def _type_of(sql: str) -> str:
    return next(kind for kind in ("ARCHITECT", "CODE", "DESIGN") if kind in sql)


def test_a_workflow_cancelled_in_a_transaction_that_fails_is_as_it_was(redis):
    (_, _, code) = steps_of()

    with pytest.raises(RuntimeError), transaction.atomic():
        assert queue_manager.cancel_workflow(code.workflow_id).status == Status.FAILED
        raise RuntimeError

    steps = queue_manager.get_workflow(code.workflow_id).tasks.all()
    assert {step.state for step in steps} == {State.WAITING, State.BLOCKED}
    assert {row.used for row in MonthlyUsage.objects.all()} == {1}
    relay(timezone.now(), RowCursor())
    assert redis.llen(keys.wait("architect")) == 1


def test_a_failed_workflow_goes_on_from_the_step_that_failed():
    architect, design, code = steps_of()
    complete(architect)
    end(design, State.FAILED, error={"code": "TIMEOUT"})
    termination.cascade([design.pk], timezone.now())

    workflow = queue_manager.retry_workflow(code.workflow_id)

    states = [(step.state, step.open_deps) for step in workflow.tasks.order_by("step")]
    assert states == [(State.COMPLETE, 0), (State.WAITING, 0), (State.BLOCKED, 1)]
    assert dict(MonthlyUsage.objects.values_list("type", "used")) == {
        "ARCHITECT": 1,
        "DESIGN": 2,
        "CODE": 1,
    }
    design.refresh_from_db()
    assert complete(design) == [code.pk]


def test_a_workflow_that_runs_or_is_complete_is_not_retried():
    architect, design, code = steps_of()

    with pytest.raises(errors.InvalidState):
        queue_manager.retry_workflow(code.workflow_id)
    for step in (architect, design, code):
        complete(step)
    with pytest.raises(errors.InvalidState):
        queue_manager.retry_workflow(code.workflow_id)


def test_a_workflows_retry_is_charged_for_all_its_steps_or_none():
    make_organization(tier="free")
    handles = [queue_manager.add_workflow("site", "ann", "acme", PROMPT) for _ in range(5)]
    queue_manager.cancel_workflow(handles[0].workflow_id)
    queue_manager.add_workflow("site", "ann", "acme", PROMPT)

    with pytest.raises(errors.QuotaExceeded):
        queue_manager.retry_workflow(handles[0].workflow_id)

    assert queue_manager.get_workflow(handles[0].workflow_id).status == Status.FAILED
    assert MonthlyUsage.objects.get(type="ARCHITECT").used == 5
