"""Fairness is between organizations: many users of one are one turn."""

import pytest
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.maintenance.queue_config import repair
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("others", [1, 3])
def test_a_single_task_is_served_within_one_round_behind_a_flood_from_a_hundred_users(others):
    repair(timezone.now())
    flooding = [f"big{number}" for number in range(others)]
    for organization_id in [*flooding, "small"]:
        make_organization(organization_id)
    for organization_id in flooding:
        flood = [
            arguments(organization_id=organization_id, user_id=f"user{number % 100}")
            for number in range(500)
        ]
        queue_manager.add_tasks(flood)
    started(others)

    task = queue_manager.add_task(**arguments(organization_id="small"))

    assert str(task.pk) in started(others + 1)


def started(number):
    """The ids of the next tasks, one at a time."""
    call = task_store.acquire("architect", worker="w", want=1, lease_ms=60_000)
    grants = [scripts.run(client("architect", purpose="worker"), [call])[0] for _ in range(number)]
    return [lease.task_id for grant in grants for lease in grant.leases]
