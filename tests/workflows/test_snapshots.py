"""What Redis says of a workflow and of its steps is what their rows say, whoever changes them."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import expiry
from plugspace_queue.models import Task
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.services import termination
from tests.factories import completed_parents, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workflow():
    make_organization()
    return queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})


def told(redis, key):
    return json.loads(redis.get(key))


def states(redis, workflow):
    return [told(redis, keys.task(str(task_id)))["state"] for task_id in workflow.task_ids]


def test_every_step_has_a_snapshot_from_the_start_and_a_new_one_when_it_is_released(
    redis, workflow
):
    assert states(redis, workflow) == ["waiting", "blocked", "blocked"]

    first = Task.objects.filter(pk=workflow.task_ids[0])
    first.update(state=State.COMPLETE, completed_at=timezone.now())
    with transaction.atomic():
        ended = completed_parents(workflow.task_ids[0])
        publishing.publish_ids_on_commit(termination.release_children(ended, timezone.now()))

    assert states(redis, workflow)[1:] == ["waiting", "blocked"]


def test_a_cancelled_workflow_says_so_until_its_retention_ends(redis, workflow):
    key = keys.workflow(str(workflow.workflow_id))
    assert redis.ttl(key) == -1

    queue_manager.cancel_workflow(workflow.workflow_id)

    assert told(redis, key)["status"] == "failed"
    assert [step["state"] for step in told(redis, key)["steps"]] == ["cancelled"] * 3
    assert redis.ttl(key) > 0


def test_an_expired_step_is_seen_in_the_snapshot_of_its_workflow(redis, workflow):
    first = Task.objects.filter(pk=workflow.task_ids[0])
    first.update(deadline=timezone.now() - timedelta(seconds=1))

    expiry.expire_due(timezone.now())

    steps = told(redis, keys.workflow(str(workflow.workflow_id)))["steps"]
    assert [step["state"] for step in steps] == ["expired", "cancelled", "cancelled"]


def test_a_retried_step_opens_the_snapshot_of_its_workflow_again(redis, workflow):
    queue_manager.cancel_workflow(workflow.workflow_id)

    queue_manager.retry(workflow.task_ids[0])

    key = keys.workflow(str(workflow.workflow_id))
    assert told(redis, key)["steps"][0]["state"] == "waiting"
    assert redis.ttl(key) == -1
