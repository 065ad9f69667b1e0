"""What Redis says of a task that has ended is put right when its telling was lost."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import cut_off
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.queue_config import mend
from plugspace_queue.maintenance.reconcile import ended
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
    mend(timezone.now())


def look(since=None):
    """The kinds of what one look finds and repairs."""
    now = timezone.now()
    looks = ended.all_between(since or now - ended.LATELY, now, tuple(TaskType))
    found = {finding for findings in looks for finding in findings}
    repair(found, now)
    return sorted(str(finding.kind) for finding in found)


def state_told(redis, task_id):
    return json.loads(redis.get(keys.task(str(task_id))))["state"]


def steps_told(redis, workflow):
    steps = json.loads(redis.get(keys.workflow(str(workflow.workflow_id))))["steps"]
    return [step["state"] for step in steps]


def test_a_publish_that_was_overtaken_by_a_cancel_does_not_have_the_last_word(redis):
    task = queue_manager.add_task(**arguments())
    read = Task.objects.get(pk=task.pk)
    queue_manager.cancel(task.pk)
    publishing.publish([read])
    assert state_told(redis, task.pk) == "waiting"

    assert look() == ["snapshot_differs"]

    assert state_told(redis, task.pk) == "cancelled"
    assert redis.ttl(keys.task(str(task.pk))) > 0


def test_steps_that_were_cancelled_while_redis_was_away_say_so_when_it_is_back(redis):
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[1])
    assert steps_told(redis, workflow) == ["waiting", "blocked", "blocked"]

    assert look() == ["snapshot_differs", "snapshot_differs", "workflow_differs"]

    assert [state_told(redis, pk) for pk in workflow.task_ids[1:]] == ["cancelled"] * 2
    assert steps_told(redis, workflow) == ["waiting", "cancelled", "cancelled"]


def test_what_is_right_is_left_alone_and_what_is_gone_stays_gone(redis):
    right, gone = (queue_manager.add_task(**arguments()) for _ in range(2))
    for task in (right, gone):
        queue_manager.cancel(task.pk)
    redis.delete(keys.task(str(gone.pk)))

    assert look() == []

    assert not redis.exists(keys.task(str(gone.pk)))


def test_however_much_ended_all_of_it_is_looked_at(redis, monkeypatch):
    monkeypatch.setattr(ended, "SLICE", 2)
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


def test_an_outage_is_looked_back_over_once_redis_answers(redis, settings):
    patrol = ReconcileRunner()

    def go_round(ended_at):
        """One whole round, and the next one may begin at once."""
        patrol._next_at = 0.0
        patrol.turn(ended_at)
        while patrol._round is not None:
            patrol.turn(ended_at)

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


def test_the_command_finds_it_too_and_both_looks_agree(redis, settings):
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[2])

    # The refund did not reach Redis either.
    assert kinds_found() == {"snapshot_differs", "workflow_differs", "usage_differs"}
    assert reconcile("--fix")[0] == 0
    assert kinds_found() == set()
