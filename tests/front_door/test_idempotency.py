"""A key makes a repeated submit harmless."""

import pytest
from django.db import transaction

from plugspace_queue import errors, queue_manager
from plugspace_queue.models import IdempotencyKey, MonthlyUsage, Task
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_same_submit_again_gives_the_first_task_and_charges_nothing():
    make_organization()
    first = queue_manager.submit_task(arguments(idempotency_key="k"))

    second = queue_manager.submit_task(arguments(idempotency_key="k"))

    assert (first.is_replay, second.is_replay) == (False, True)
    assert second.subject.pk == first.subject.pk
    assert MonthlyUsage.objects.get().used == 1


def test_order_of_keys_and_defaults_does_not_make_it_another_submit():
    make_organization()
    one = {"prompt": "x", "context": {"style": "calm", "industry": "saas"}}
    other = {"context": {"industry": "saas", "style": "calm"}, "prompt": "x"}
    first = queue_manager.add_task(**arguments(idempotency_key="k", input=one))

    assert queue_manager.add_task(**arguments(idempotency_key="k", input=other)).pk == first.pk


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"prompt": "other"}},
        {"user_id": "bob"},
        {"ttl": 5},
        {"priority": 3},
        {"max_retries": 1},
        {"context": {"maxIterations": 2}},
    ],
)
def test_other_arguments_are_a_conflict_that_breaks_no_transaction(change):
    make_organization()
    queue_manager.add_task(**arguments(idempotency_key="k"))

    with transaction.atomic():
        with pytest.raises(errors.IdempotencyConflict):
            queue_manager.add_task(**arguments(idempotency_key="k", **change))
        queue_manager.add_task(**arguments())

    assert Task.objects.count() == 2


def test_organizations_have_their_own_keys():
    make_organization()
    make_organization("other")
    first = queue_manager.add_task(**arguments(idempotency_key="k"))

    second = queue_manager.add_task(**arguments(idempotency_key="k", organization_id="other"))

    assert second.pk != first.pk


def test_a_refused_submit_keeps_no_key():
    make_organization(tier="free")
    queue_manager.add_task(**arguments(type="DEPLOY"))

    with pytest.raises(errors.QuotaExceeded):
        queue_manager.add_task(**arguments(type="DEPLOY", idempotency_key="k"))

    assert not IdempotencyKey.objects.exists()
    assert queue_manager.add_task(**arguments(idempotency_key="k"))


def test_a_workflows_key_is_not_a_tasks_key():
    make_organization()
    handle = queue_manager.add_workflow(
        "site", "ann", "acme", {"prompt": "A shop"}, idempotency_key="k"
    )

    again = queue_manager.add_workflow(
        "site", "ann", "acme", {"prompt": "A shop"}, idempotency_key="k"
    )

    assert (again.workflow_id, again.task_ids) == (handle.workflow_id, handle.task_ids)
    assert again.is_replay
    with pytest.raises(errors.IdempotencyConflict):
        queue_manager.add_task(**arguments(idempotency_key="k"))
