"""An organization that was changed behind this process, which remembers it otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from plugspace_queue import errors, queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import policies
from plugspace_queue.models import Organization, Task
from tests.factories import arguments, make_organization
from tests.services.conftest import fresh_reads  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

FLOW = {"project_id": "site", "user_id": "ann", "organization_id": "acme", "input": {"prompt": "x"}}
FIRST: dict[str, Callable[[], Any]] = {
    "task": lambda: queue_manager.add_task(**arguments(priority=0)),
    "task with a key": lambda: queue_manager.add_task(**arguments(priority=0), idempotency_key="k"),
    "bulk": lambda: queue_manager.add_tasks([arguments(priority=0), arguments()]),
    "workflow": lambda: queue_manager.add_workflow(**FLOW, priority=0),
}


@pytest.fixture
def remembered() -> None:
    """The organization acme, on free, as this process has seen it a moment ago."""
    make_organization(tier="free")
    Task.objects.filter(pk=queue_manager.add_task(**arguments()).pk).delete()


def change_elsewhere(**columns: Any) -> None:
    """Change the row as another process does: nothing here hears of it."""
    Organization.objects.filter(pk="acme").update(**columns)


def test_a_tier_that_a_customer_list_raised_gives_its_priority_at_once(remembered):
    queue_manager.set_organizations([{"id": "acme", "tier": "enterprise"}])

    assert queue_manager.add_task(**arguments(priority=0)).priority == 0


@pytest.mark.parametrize("name", FIRST)
def test_a_tier_that_was_raised_elsewhere_gives_its_priority(remembered, name):
    change_elsewhere(tier_id="enterprise")

    FIRST[name]()

    assert {task.priority for task in Task.objects.all()} == {0}


def test_one_organization_of_a_bulk_was_raised_elsewhere(remembered):
    make_organization("other")
    change_elsewhere(tier_id="enterprise")

    tasks = queue_manager.add_tasks(
        [arguments(priority=0), arguments(organization_id="other", priority=0)]
    )

    assert [task.priority for task in tasks] == [0, 0]


@pytest.mark.parametrize("name", FIRST)
def test_a_priority_that_the_tier_does_not_give_is_refused_as_before(remembered, name):
    for _ in range(2):
        with pytest.raises(errors.PermissionRefused):
            FIRST[name]()

    assert not Task.objects.exists()


def test_who_was_suspended_elsewhere_is_told_that_instead(remembered):
    change_elsewhere(is_suspended=True)

    with pytest.raises(errors.OrganizationSuspended):
        queue_manager.add_task(**arguments(priority=0))


def test_nothing_that_was_read_before_a_commit_is_remembered_after_it(remembered):
    assert policies.remembered_tenant("acme")
    queue_manager.set_organizations([{"id": "acme", "tier": "free"}])
    assert policies.remembered_tenant("acme") is None

    with transaction.atomic():
        queue_manager.set_organization("acme", tier="starter")
        policies.read_tenant("acme")
    assert policies.remembered_tenant("acme") is None


REPEATED: dict[str, Callable[[], Any]] = {
    "task": lambda: queue_manager.add_task(**arguments(), idempotency_key="task"),
    "workflow": lambda: queue_manager.add_workflow(**FLOW, idempotency_key="flow"),
    "bulk": lambda: queue_manager.submit_tasks([arguments()], idempotency_key="bulk"),
    "items": lambda: queue_manager.submit_tasks([arguments(idempotency_key="item"), OTHER]),
}
OTHER = arguments(organization_id="other")


@pytest.mark.parametrize("name", REPEATED)
def test_a_repeated_submit_of_who_was_suspended_elsewhere_is_refused(remembered, name):
    make_organization("other")
    REPEATED[name]()
    before = Task.objects.count()
    change_elsewhere(is_suspended=True)

    with pytest.raises(errors.OrganizationSuspended):
        REPEATED[name]()

    assert Task.objects.count() == before


@pytest.mark.parametrize("name", ["task", "workflow"])
def test_a_free_retry_for_who_was_suspended_elsewhere_is_refused(remembered, name):
    flow = queue_manager.add_workflow(**FLOW)
    queue_manager.cancel(flow.task_ids[0])
    change_elsewhere(is_suspended=True)
    retry, subject = {
        "task": (queue_manager.retry, flow.task_ids[0]),
        "workflow": (queue_manager.retry_workflow, flow.workflow_id),
    }[name]

    with pytest.raises(errors.OrganizationSuspended):
        retry(subject, charge=False, reason="ours", limit_requests=False)

    assert Task.objects.get(pk=flow.task_ids[0]).state == State.CANCELLED
