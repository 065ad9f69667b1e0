"""A copy of a task that has ended is rewritten when its last write was lost."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import cut_off
from plugspace_queue.broker.routing import PerServerErrors
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.reconcile import copies
from plugspace_queue.maintenance.reconcile.repair import repair
from plugspace_queue.maintenance.reconcile.runner import ReconcileRunner
from plugspace_queue.models import Task
from plugspace_queue.publishing import tasks as publishing
from tests.factories import arguments, make_organization
from tests.maintenance.scene import kinds_found, reconcile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def acme():
    make_organization()
    queue_config.repair(timezone.now())


def look(since=None):
    """The kinds of what one look finds and repairs."""
    now, errors = timezone.now(), PerServerErrors()
    looks = copies.compare_ended(since, now, tuple(TaskType), errors)
    found = {finding for findings in looks for finding in findings}
    repair(found, now)
    return sorted(finding.code for finding in found)


def state_told(redis, task_id):
    return json.loads(redis.get(keys.task(str(task_id))))["state"]


def steps_told(redis, workflow):
    steps = json.loads(redis.get(keys.workflow(str(workflow.workflow_id))))["steps"]
    return [step["state"] for step in steps]


def test_a_snapshot_that_a_late_publish_wrote_after_a_cancel_is_rewritten(redis):
    task = queue_manager.add_task(**arguments())
    read = Task.objects.get(pk=task.pk)
    queue_manager.cancel(task.pk)
    publishing.publish([read])
    assert state_told(redis, task.pk) == "waiting"

    assert look() == ["snapshot_differs"]

    assert state_told(redis, task.pk) == "cancelled"
    assert redis.ttl(keys.task(str(task.pk))) > 0


def test_copies_of_steps_cancelled_while_redis_was_away_are_rewritten(redis):
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[1])
    assert steps_told(redis, workflow) == ["waiting", "blocked", "blocked"]

    assert look() == ["snapshot_differs", "snapshot_differs", "workflow_differs"]

    assert [state_told(redis, pk) for pk in workflow.task_ids[1:]] == ["cancelled"] * 2
    assert steps_told(redis, workflow) == ["waiting", "cancelled", "cancelled"]


def test_a_right_copy_is_left_alone_and_a_missing_one_is_not_written(redis):
    right, gone = (queue_manager.add_task(**arguments()) for _ in range(2))
    for task in (right, gone):
        queue_manager.cancel(task.pk)
    redis.delete(keys.task(str(gone.pk)))

    assert look() == []

    assert not redis.exists(keys.task(str(gone.pk)))


def test_all_that_ended_is_compared_in_slices(redis, monkeypatch):
    monkeypatch.setattr(copies, "SLICE", 2)
    tasks = [queue_manager.add_task(**arguments()) for _ in range(5)]
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    names = [keys.task(str(task.pk)) for task in tasks] + [keys.workflow(str(workflow.workflow_id))]
    before = dict(zip(names, redis.mget(names), strict=True))
    for pk in [workflow.task_ids[0], *(task.pk for task in tasks)]:
        queue_manager.cancel(pk)
    # All in one group commit.
    Task.objects.filter(state="cancelled").update(completed_at=timezone.now())
    redis.mset(before)

    assert look() == ["snapshot_differs"] * 5 + ["workflow_differs"]

    assert {state_told(redis, task.pk) for task in tasks} == {"cancelled"}
    assert steps_told(redis, workflow) == ["cancelled"] * 3


def test_a_round_after_an_outage_compares_all_that_ended_since_the_last_one(redis, settings):
    runner = ReconcileRunner()

    def go_round(ended_at):
        """One whole round, and the next one may begin at once."""
        runner._next_at = 0.0
        runner.turn(ended_at)
        while runner._round is not None:
            runner.turn(ended_at)

    before = timezone.now()
    go_round(before)
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[2])
        with pytest.raises(Unavailable):
            go_round(before)

    go_round(before + timedelta(hours=3))

    assert state_told(redis, workflow.task_ids[2]) == "cancelled"
    assert steps_told(redis, workflow) == ["waiting", "blocked", "cancelled"]


def test_the_command_finds_and_repairs_copies_of_what_ended(redis, settings):
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[2])

    # The refund did not reach Redis either.
    assert kinds_found() == {"snapshot_differs", "workflow_differs", "usage_differs"}
    assert reconcile("--fix")[0] == 0
    assert kinds_found() == set()
