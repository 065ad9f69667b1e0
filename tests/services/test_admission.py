"""An organization is remembered between submits; what another process changed still counts."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from redis import Redis

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import MonthlyUsage, Organization, Task, TierPolicy, UsageEntry
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)

FLOW = {"project_id": "site", "user_id": "ann", "organization_id": "acme", "input": {"prompt": "x"}}
SUBMITS: dict[str, Callable[[], Any]] = {
    "task": lambda: queue_manager.add_task(**arguments()),
    "task with a key": lambda: queue_manager.add_task(**arguments(), idempotency_key="k"),
    "bulk": lambda: queue_manager.add_tasks([arguments(), arguments()]),
    "workflow": lambda: queue_manager.add_workflow(**FLOW),
}


@pytest.fixture
def remembered() -> None:
    """The organization acme, on enterprise, as this process has seen it a moment ago."""
    make_organization()
    queue_manager.add_task(**arguments())
    Task.objects.all().delete()
    UsageEntry.objects.all().delete()


def change_elsewhere(**columns: Any) -> None:
    """Change the row as another process does: nothing here hears of it."""
    Organization.objects.filter(pk="acme").update(**columns)


@pytest.mark.parametrize("name", SUBMITS)
def test_a_tier_that_was_changed_elsewhere_decides_the_priority(remembered, redis: Redis, name):
    before = int(redis.get(keys.ratelimit("acme")) or 0)
    change_elsewhere(tier_id="free")

    SUBMITS[name]()

    assert {task.priority for task in Task.objects.all()} == {3}
    assert int(redis.get(keys.ratelimit("acme")) or 0) == before + 1


@pytest.mark.parametrize("name", SUBMITS)
def test_a_tier_that_was_changed_elsewhere_decides_the_quota(remembered, name):
    TierPolicy.objects.filter(pk="free").update(quotas={"ARCHITECT": 1, "DESIGN": 0, "CODE": 0})
    change_elsewhere(tier_id="free")

    with pytest.raises(errors.QuotaExceeded):
        SUBMITS[name]()

    assert not Task.objects.exists()
    assert MonthlyUsage.objects.get().used == 1


@pytest.mark.parametrize("name", SUBMITS)
def test_an_organization_that_was_suspended_elsewhere_stores_nothing(remembered, name):
    change_elsewhere(is_suspended=True)

    with pytest.raises(errors.OrganizationSuspended):
        SUBMITS[name]()

    assert not Task.objects.exists()
    assert MonthlyUsage.objects.get().used == 1


@pytest.mark.parametrize("name", SUBMITS)
def test_an_organization_that_was_deleted_elsewhere_is_unknown(remembered, name):
    Organization.objects.filter(pk="acme").delete()

    with pytest.raises(errors.OrganizationUnknown):
        SUBMITS[name]()


@pytest.mark.parametrize("name", SUBMITS)
def test_a_changed_tier_leaves_the_callers_transaction_usable(remembered, name):
    change_elsewhere(tier_id="free")

    with transaction.atomic():
        SUBMITS[name]()
        assert Organization.objects.filter(pk="acme").exists()

    assert Task.objects.exists()


def test_a_window_that_was_full_is_judged_by_the_tier_that_the_organization_has_now():
    make_organization(tier="free")
    TierPolicy.objects.filter(pk="free").update(request_limit=1)
    queue_manager.add_task(**arguments())
    change_elsewhere(tier_id="enterprise")

    assert queue_manager.add_task(**arguments()).priority == 0


def test_a_counter_changes_by_what_was_stored_and_by_nothing_else(remembered):
    change_elsewhere(tier_id="free")

    queue_manager.add_tasks([arguments(), arguments(type="CODE")])

    used = dict(MonthlyUsage.objects.values_list("type", "used"))
    assert used == {"ARCHITECT": 2, "CODE": 1}
    assert sorted(UsageEntry.objects.values_list("type", "units")) == [
        ("ARCHITECT", 1),
        ("CODE", 1),
    ]


def test_a_refused_argument_does_not_leave_the_answer_of_the_window_to_the_next_call(remembered):
    for _ in range(3):
        with pytest.raises(errors.ValidationRefused):
            queue_manager.add_task(**arguments(input={}))

    assert queue_manager.get_queue_stats("ARCHITECT").waiting == 0
    assert queue_manager.add_task(**arguments())
