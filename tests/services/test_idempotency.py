"""A key makes a repeated submit harmless."""

import pytest
from django.db import transaction

from plugspace_queue import errors, queue_manager
from plugspace_queue.models import IdempotencyKey, MonthlyUsage, Task
from tests.factories import arguments, make_organization
from tests.services.racing import race

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


def add(what: str, key: str) -> str:
    """Submit a task, a bulk or a workflow under a key; the id of the first row."""
    if what == "task":
        return str(queue_manager.add_task(**arguments(idempotency_key=key)).pk)
    if what == "bulk":
        bulk = [arguments(user_id="eve"), arguments()]
        return str(queue_manager.submit_tasks(bulk, idempotency_key=key)[0].subject.pk)
    wish = {"prompt": "A shop"}
    return str(queue_manager.add_workflow("s", "a", "acme", wish, idempotency_key=key).workflow_id)


@pytest.mark.parametrize("later", ["task", "bulk", "workflow"])
@pytest.mark.parametrize("earlier", ["task", "bulk", "workflow"])
def test_a_key_stands_for_one_submit_of_any_kind_and_a_conflict_names_it(earlier, later):
    make_organization()
    first = add(earlier, "k")
    rows = Task.objects.count()

    if earlier == later:
        assert add(later, "k") == first
    else:
        with pytest.raises(errors.IdempotencyConflict) as refused:
            add(later, "k")
        told = refused.value
        named = "workflow_id" if earlier == "workflow" else "task_id"
        assert told.details == {"key": "k", named: first}
        assert first in told.message
        assert "'k'" in told.message
    assert Task.objects.count() == rows
    assert MonthlyUsage.objects.get(type="ARCHITECT").used == (2 if earlier == "bulk" else 1)


def test_a_changed_bulk_is_a_conflict_that_names_its_key_and_first_task():
    make_organization()
    first = add("bulk", "k")

    with pytest.raises(errors.IdempotencyConflict) as refused:
        queue_manager.submit_tasks([arguments()], idempotency_key="k")

    assert refused.value.details == {"key": "k", "task_id": first}


def test_a_key_that_looks_like_an_item_of_a_bulk_is_another_key():
    make_organization()
    before = [add("task", f"k#{n}") for n in range(2)]
    add("bulk", "k")
    add("bulk", "m")
    after = [add("task", f"m#{n}") for n in range(2)]

    assert len({*before, *after}) == 4
    assert Task.objects.count() == 8


def test_a_bulk_over_two_organizations_takes_its_key_in_both():
    make_organization()
    make_organization("other")
    both = [arguments(), arguments(organization_id="other"), arguments()]
    told = queue_manager.submit_tasks(both, idempotency_key="k")

    again = queue_manager.submit_tasks(both, idempotency_key="k")

    assert [one.subject.pk for one in again] == [one.subject.pk for one in told]
    assert all(one.is_replay for one in again)
    with pytest.raises(errors.IdempotencyConflict) as refused:
        queue_manager.add_task(**arguments(organization_id="other", idempotency_key="k"))
    assert refused.value.details["task_id"] == str(told[1].subject.pk)


def test_the_key_of_a_bulk_is_free_again_when_its_first_task_is_gone():
    make_organization()
    Task.objects.filter(pk=add("bulk", "k")).delete()

    assert add("task", "k")


@pytest.mark.parametrize("turn", range(3))
def test_of_a_bulk_and_a_task_that_race_for_a_key_one_wins(turn):
    make_organization()

    def submit(number: int) -> str:
        try:
            return add("bulk" if number % 2 else "task", "k")
        except errors.IdempotencyConflict as refused:
            return str(refused.details["task_id"])

    got = race(4, submit)

    assert len(set(got)) == 1
    assert Task.objects.count() in (1, 2)
    assert MonthlyUsage.objects.get().used == Task.objects.count()
