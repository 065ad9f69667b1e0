"""queue_prune: old final things go, nothing else."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.management.commands import queue_prune
from plugspace_queue.models import (
    Attempt,
    Dependency,
    FailureGroup,
    FailureMinute,
    Task,
    UsageEntry,
    Workflow,
)
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

OLD = timezone.now() - timedelta(days=100)
DAY = 86_400


def prune(*words: str) -> dict[str, int]:
    out = io.StringIO()
    call_command("queue_prune", *words, stdout=out)
    pairs = (line.split(": ") for line in out.getvalue().splitlines())
    return {name: int(count.split()[0]) for name, count in pairs}


def make_workflow(*states: State, ended=OLD) -> Workflow:
    workflow = Workflow.objects.create(
        id=old_id(), kind="create", organization=make_organization(), project_id="p", user_id="u"
    )
    for step, state in enumerate(states):
        task = make_task(state=state, workflow=workflow, step=step)
        if task.is_final:
            Task.objects.filter(pk=task.pk).update(completed_at=ended)
    return workflow


def old_id():
    """An id as it was given 100 days ago: the first 48 bits are milliseconds."""
    fresh = new_id()
    days = int(timedelta(days=100).total_seconds() * 1000)
    return type(fresh)(int=fresh.int - (days << 80))


def test_each_state_has_its_own_retention():
    month_old = timezone.now() - timedelta(days=45)
    for state in (State.COMPLETE, State.FAILED, State.CANCELLED, State.EXPIRED):
        make_task(state=state, completed_at=month_old)

    told = prune()

    assert told == {
        "complete tasks": 1,
        "failed tasks": 0,
        "cancelled tasks": 1,
        "expired tasks": 1,
        "workflows": 0,
        "failure minutes": 0,
        "failure groups": 0,
    }
    assert [task.state for task in Task.objects.all()] == [State.FAILED]


def test_open_and_fresh_tasks_stay():
    kept = [make_task(queued_at=OLD), make_task(state=State.COMPLETE)]

    prune()

    assert set(Task.objects.all()) == set(kept)


def test_a_dry_run_counts_and_deletes_nothing():
    make_task(state=State.COMPLETE, completed_at=OLD)
    make_workflow(State.COMPLETE, State.COMPLETE)

    told = prune("--dry-run")

    assert (told["complete tasks"], told["workflows"]) == (1, 1)
    assert (Task.objects.count(), Workflow.objects.count()) == (3, 1)


def test_batches_delete_everything_bit_by_bit():
    for _ in range(7):
        make_task(state=State.COMPLETE, completed_at=OLD)

    with CaptureQueriesContext(connection) as queries:
        told = prune("--batch", "3")

    assert told["complete tasks"] == 7
    assert not Task.objects.exists()
    deletes = [q for q in queries if q["sql"].startswith('DELETE FROM "plugspace_queue_task"')]
    assert len(deletes) == 3


def test_a_workflow_with_an_open_step_stays_whole():
    workflow = make_workflow(State.COMPLETE, State.BLOCKED)

    prune()

    assert workflow.tasks.count() == 2


def test_a_workflow_goes_when_the_last_of_its_steps_is_old_enough():
    young = make_workflow(State.COMPLETE)
    Task.objects.filter(workflow=young).update(completed_at=timezone.now())
    make_workflow(State.COMPLETE, State.FAILED)

    told = prune()

    assert told["workflows"] == 1
    assert list(Workflow.objects.all()) == [young]
    assert Task.objects.count() == 1


def test_a_task_whose_result_somebody_still_waits_for_stays():
    parent = make_task(state=State.COMPLETE, completed_at=OLD)
    child = make_task(state=State.SCHEDULED)
    Dependency.objects.create(task=child, parent=parent)

    prune()

    assert Task.objects.filter(pk=parent.pk).exists()


def test_the_ledger_outlives_the_task():
    task = make_task(state=State.COMPLETE, completed_at=OLD)
    Attempt.objects.create(
        task=task, number=1, fence=1, started_at=OLD, ended_at=OLD, outcome="complete"
    )
    UsageEntry.objects.create(
        organization=task.organization, type=task.type, month="2026-01", reason="settle", task=task
    )

    prune()

    assert UsageEntry.objects.get().task_id is None
    assert not Attempt.objects.exists()


def test_retention_is_a_setting_and_a_state_without_one_is_kept():
    make_task(state=State.COMPLETE, completed_at=OLD)
    make_task(state=State.FAILED, completed_at=OLD)

    with override_settings(PLUGSPACE_QUEUE={"RETENTION": {"failed": DAY}}):
        prune()

    assert [task.state for task in Task.objects.all()] == [State.COMPLETE]


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(CommandError):
        prune("--batch", "0")


def make_group(fingerprint: str, seen) -> FailureGroup:
    group = FailureGroup.objects.create(
        type="CODE", code="TIMEOUT", fingerprint=fingerprint, first_seen=OLD, last_seen=seen
    )
    FailureMinute.objects.create(group=group, organization=make_organization(), minute=seen, n=1)
    return group


def test_failure_groups_go_with_their_tasks_and_their_minutes_earlier():
    now = timezone.now()
    make_group("gone", OLD)
    month_old = make_group("month", now - timedelta(days=30))
    fresh = make_group("fresh", now)

    told = prune()

    assert (told["failure minutes"], told["failure groups"]) == (2, 1)
    assert set(FailureGroup.objects.all()) == {month_old, fresh}
    assert [row.group for row in FailureMinute.objects.all()] == [fresh]


def test_of_too_many_failure_groups_those_seen_last_are_kept(monkeypatch):
    monkeypatch.setattr(queue_prune, "MOST_GROUPS", 2)
    now = timezone.now()
    for age in range(4):
        make_group(str(age), now - timedelta(minutes=age))

    with override_settings(PLUGSPACE_QUEUE={"RETENTION": {}}):
        told = prune("--batch", "1")

    assert told["failure groups"] == 2
    assert sorted(FailureGroup.objects.values_list("fingerprint", flat=True)) == ["0", "1"]
