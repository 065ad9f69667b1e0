"""Many tasks in one call: all or nothing, and cheap."""

import pytest

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.limits.quota import AT_ONCE
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry
from tests.factories import arguments, make_organization
from tests.services.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_bulk_submit_stores_all_in_order_with_one_ledger_entry_per_type(redis):
    make_organization()
    kinds = ["ARCHITECT", "CODE", "ARCHITECT", "EXPORT"]

    tasks = queue_manager.add_tasks([arguments(type=kind) for kind in kinds])

    assert [task.type for task in tasks] == kinds
    assert sorted(task.pk for task in tasks) == [task.pk for task in tasks]
    assert dict(UsageEntry.objects.values_list("type", "units")) == {
        "ARCHITECT": 2,
        "CODE": 1,
        "EXPORT": 1,
    }
    assert redis.llen(keys.wait("architect")) == 2
    assert redis.llen(keys.wait("code")) == 1


def test_the_number_of_queries_does_not_grow_with_the_items(django_assert_max_num_queries):
    make_organization()
    queue_manager.add_tasks([arguments()])

    with django_assert_max_num_queries(12):
        queue_manager.add_tasks([arguments() for _ in range(40)])


def test_one_request_is_counted_per_organization(redis):
    make_organization()
    make_organization("other")

    queue_manager.add_tasks(
        [arguments(), arguments(organization_id="other"), arguments(), arguments()]
    )

    assert redis.get(keys.ratelimit("acme")) == b"1"
    assert redis.get(keys.ratelimit("other")) == b"1"


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"input": {}}, errors.ValidationRefused),
        ({"priority": 9}, errors.ValidationRefused),
        ({"organization_id": "nobody"}, errors.OrganizationUnknown),
        ({"organization_id": 5}, errors.OrganizationUnknown),
        ({"more": 1}, errors.ValidationRefused),
        ({"depends_on": ["018f0000-0000-7000-8000-000000000000"]}, errors.NotFound),
    ],
)
def test_one_bad_item_refuses_all_and_says_which(bad, error):
    make_organization()

    with pytest.raises(error) as refused:
        queue_manager.add_tasks([arguments(), arguments(), arguments() | bad])

    assert refused.value.details["index"] == 2
    assert not Task.objects.exists()
    assert not MonthlyUsage.objects.filter(used__gt=0).exists()


def test_a_missing_argument_is_named():
    make_organization()
    item = arguments()
    del item["user_id"]

    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.add_tasks([item])

    assert refused.value.details["field"] == "user_id"
    assert refused.value.details["index"] == 0


def test_a_quota_that_does_not_cover_all_covers_none():
    make_organization(tier="free")

    with pytest.raises(errors.QuotaExceeded) as refused:
        queue_manager.add_tasks([arguments(), *(arguments(type="CODE") for _ in range(6))])

    assert refused.value.details["index"] == 1
    assert refused.value.details["type"] == "CODE"
    assert not Task.objects.exists()
    assert not MonthlyUsage.objects.filter(used__gt=0).exists()


def test_keys_in_a_bulk_submit_are_honoured():
    make_organization()
    first = queue_manager.add_task(**arguments(idempotency_key="a"))

    tasks = queue_manager.add_tasks(
        [arguments(idempotency_key="a"), arguments(), arguments(idempotency_key="b")]
    )

    assert tasks[0].pk == first.pk
    assert Task.objects.count() == 3


def test_many_keys_cost_no_more_queries_than_none(django_assert_max_num_queries):
    make_organization()
    items = [arguments(idempotency_key=f"k{n}") for n in range(40)]

    with django_assert_max_num_queries(16):
        tasks = queue_manager.add_tasks(items)

    assert [task.pk for task in queue_manager.add_tasks(items)] == [task.pk for task in tasks]
    assert MonthlyUsage.objects.get().used == 40


def test_one_key_twice_in_a_call_is_one_task():
    make_organization()

    tasks = queue_manager.add_tasks(
        [arguments(idempotency_key="k"), arguments(idempotency_key="k")]
    )

    assert tasks[0].pk == tasks[1].pk
    assert Task.objects.count() == 1


def test_one_conflicting_key_refuses_all():
    make_organization()
    queue_manager.add_task(**arguments(idempotency_key="k"))

    with pytest.raises(errors.IdempotencyConflict) as refused:
        queue_manager.add_tasks([arguments(), arguments(idempotency_key="k", user_id="bob")])

    assert refused.value.details["index"] == 1
    assert Task.objects.count() == 1


def test_racing_bulks_with_the_same_keys_store_each_once():
    make_organization()
    items = [arguments(idempotency_key=f"k{n}") for n in range(5)]

    got = race(4, lambda n: queue_manager.add_tasks(items if n % 2 else items[::-1]))

    assert {task.pk for tasks in got for task in tasks} == set(
        Task.objects.values_list("pk", flat=True)
    )
    assert Task.objects.count() == 5
    assert MonthlyUsage.objects.get().used == 5


def test_a_bulk_of_more_organizations_than_fit_in_one_statement_charges_each_once():
    names = [f"org-{number}" for number in range(AT_ONCE + 5)]
    queue_manager.set_organizations([{"id": name, "tier": "enterprise"} for name in names])

    queue_manager.add_tasks([arguments(organization_id=name) for name in names for _ in range(2)])

    used = MonthlyUsage.objects.values_list("organization_id", "used")
    assert dict(used) == dict.fromkeys(names, 2)


def test_nothing_is_a_bulk_too():
    assert queue_manager.add_tasks([]) == []
