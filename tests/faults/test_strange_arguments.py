"""What callers and operators may give that no one else would: refused, or taken without harm."""

import pytest
from django.core.exceptions import ValidationError

from plugspace_queue import TaskType, errors, queue_manager
from plugspace_queue.models import MonthlyUsage, Task, TierPolicy
from plugspace_queue.schemas.requests import TaskRequest
from tests.factories import arguments, make_organization
from tests.services.conftest import fresh_reads  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

LARGEST = 2**63 - 1


@pytest.mark.parametrize("key", ["a\n#1", "a\x00", "\x7f", "a\ud800", "", "x" * 241, 5])
def test_a_bulks_key_is_text_without_control_characters(key):
    make_organization()

    with pytest.raises(errors.ValidationRefused):
        queue_manager.submit_tasks([arguments()], idempotency_key=key)

    assert not Task.objects.exists()


def test_a_request_that_was_given_to_a_bulk_with_a_key_is_left_as_it_was():
    make_organization()
    request = TaskRequest.of(arguments())

    (first,) = queue_manager.submit_tasks([request], idempotency_key="bulk")
    (again,) = queue_manager.submit_tasks([request], idempotency_key="bulk")
    twice = queue_manager.submit_tasks([request, request], idempotency_key="twice")

    assert request.idempotency_key is None
    assert (first.is_replay, again.is_replay) == (False, True)
    assert len({one.subject.pk for one in twice}) == 2


@pytest.mark.parametrize("quota", [LARGEST + 1, 10**30])
def test_a_quota_that_no_database_can_compare_is_refused_and_stops_no_submit(quota):
    make_organization(tier="free")
    tier = TierPolicy.objects.get(pk="free")
    tier.quotas = dict.fromkeys(map(str, TaskType), quota)
    with pytest.raises(ValidationError):
        tier.full_clean()
    tier.save()

    queue_manager.add_task(**arguments())
    queue_manager.add_tasks([arguments(), arguments()])

    assert MonthlyUsage.objects.get().used == 3


def test_the_largest_quota_is_a_quota():
    make_organization(tier="free")
    tier = TierPolicy.objects.get(pk="free")
    tier.quotas = dict.fromkeys(map(str, TaskType), LARGEST)

    tier.full_clean()
    tier.save()

    queue_manager.add_tasks([arguments(), arguments()])

    assert MonthlyUsage.objects.get().used == 2
