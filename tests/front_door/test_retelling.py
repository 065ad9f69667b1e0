"""What Redis says of a task that has ended is put right when its telling was lost."""

import json

import pytest
from django.utils import timezone

from plugspace_queue import keys, publishing, queue_manager
from plugspace_queue.engine.connection import cut_off
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import Task
from plugspace_queue.retelling import Retelling
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def acme():
    make_organization()


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

    assert Retelling().look(timezone.now()) == 1

    assert state_told(redis, task.pk) == "cancelled"
    assert redis.ttl(keys.task(str(task.pk))) > 0


def test_steps_that_were_cancelled_while_redis_was_away_say_so_when_it_is_back(redis):
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[1])
    assert steps_told(redis, workflow) == ["waiting", "blocked", "blocked"]

    # Two tasks and their workflow.
    assert Retelling().look(timezone.now()) == 3

    assert [state_told(redis, pk) for pk in workflow.task_ids[1:]] == ["cancelled"] * 2
    assert steps_told(redis, workflow) == ["waiting", "cancelled", "cancelled"]


def test_what_is_right_is_left_alone_and_what_is_gone_stays_gone(redis):
    right, gone = (queue_manager.add_task(**arguments()) for _ in range(2))
    for task in (right, gone):
        queue_manager.cancel(task.pk)
    redis.delete(keys.task(str(gone.pk)))

    assert Retelling().look(timezone.now()) == 0

    assert not redis.exists(keys.task(str(gone.pk)))


def test_an_outage_is_looked_back_over_once_redis_answers(redis):
    retelling = Retelling()
    retelling.look(timezone.now())
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
    with cut_off():
        queue_manager.cancel(workflow.task_ids[2])
        with pytest.raises(Unavailable):
            retelling.look(timezone.now())

    assert retelling.look(timezone.now()) == 2
