"""The numbers of the original description, read back through the public surface."""

from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

from plugspace_queue import errors, queue_manager
from plugspace_queue.testing import processors, run_pending
from tests.factories import INPUTS

pytestmark = pytest.mark.django_db(transaction=True)

TYPES = ["ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT"]
CONCURRENCY = [5, 5, 3, 3, 2, 5]
PER_MINUTE = [100, 100, 50, 30, 10, 100]
DEFAULT_PRIORITY = [2, 2, 2, 2, 1, 3]
QUOTAS = {
    "free": [10, 10, 5, 5, 1, 5],
    "starter": [100, 100, 50, 50, 10, 50],
    "professional": [500, 500, 250, 250, 50, 250],
    "enterprise": [-1, -1, -1, -1, -1, -1],
}
PRIORITY = {"enterprise": 0, "professional": 1, "starter": 2, "free": 3}


def submit(task_type: str, **changes: Any) -> Any:
    return queue_manager.add_task(
        task_type,
        project_id="site",
        user_id="ann",
        organization_id="acme",
        input=INPUTS[task_type],
        limit_requests=False,
        **changes,
    )


def test_the_six_queues_have_their_concurrency_limit_and_priority(admin_client):
    told = {queue["type"]: queue for queue in admin_client.get("/api/v1/queues/").json()["results"]}
    rows = [told[name] for name in TYPES]

    assert [row["concurrency"] for row in rows] == CONCURRENCY
    assert [row["limiter"] for row in rows] == [{"max": n, "duration": 60.0} for n in PER_MINUTE]
    assert [row["defaultPriority"] for row in rows] == DEFAULT_PRIORITY


def test_without_a_tier_a_task_has_the_priority_of_its_queue():
    queue_manager.set_organization("acme")

    assert [submit(name).priority for name in TYPES] == DEFAULT_PRIORITY


@pytest.mark.parametrize("tier", PRIORITY)
def test_a_tier_has_its_priority_and_its_quotas(tier: str, admin_client):
    queue_manager.set_organization("acme", tier=tier)

    address = "/api/v1/organizations/acme/usage/"
    usage = admin_client.get(address).json()["usage"]

    assert submit("ARCHITECT").priority == PRIORITY[tier]
    # Over REST no limit is null.
    assert [usage[name]["quota"] or -1 for name in TYPES] == QUOTAS[tier]


def test_the_request_limit_is_100_in_60_seconds(redis):
    queue_manager.set_organization("acme", tier="enterprise")
    task = {"project_id": "site", "user_id": "ann", "organization_id": "acme"}

    for _ in range(100):
        queue_manager.add_task("DEPLOY", input={}, **task)

    with pytest.raises(errors.RequestRateLimited) as refused:
        queue_manager.add_task("DEPLOY", input={}, **task)
    assert 0 < refused.value.retry_after <= 60


def test_three_retries_wait_2_4_and_8_seconds():
    queue_manager.set_organization("acme", tier="enterprise")
    task = submit("ANALYZE")
    waits = []

    def fails(context: Any) -> None:
        raise errors.ExternalServiceError("no answer")

    with processors({"ANALYZE": fails}):
        for _ in range(4):
            run_pending("ANALYZE", until="once", now=task.wake_at)
            task = queue_manager.get_task(task.pk)
            if task.wake_at:
                waits.append(round((task.wake_at - task.attempts.last().ended_at).total_seconds()))

    assert waits == [2, 4, 8]
    assert (task.status, task.error["code"]) == ("failed", "EXTERNAL_SERVICE_ERROR")


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (errors.RateLimited, True),
        (errors.TaskTimeout, True),
        (errors.ExternalServiceError, True),
        (errors.ValidationFailed, False),
        (errors.AuthenticationFailed, False),
    ],
)
def test_the_documented_errors_are_retried_and_the_others_are_final(error: Any, is_retried: bool):
    queue_manager.set_organization("acme", tier="enterprise")
    task = submit("ANALYZE")

    def fails(context: Any) -> None:
        raise error

    with processors({"ANALYZE": fails}):
        run_pending("ANALYZE", until="once")

    task = queue_manager.get_task(task.pk)
    assert task.status == ("retrying" if is_retried else "failed")
    assert task.error["code"] == error.code


@override_settings(
    PLUGSPACE_QUEUE={
        "CONCURRENCY": 5,
        "MAX_RETRIES": 3,
        "DEFAULT_TTL": 3600,
        "RATE_LIMIT": {"max": 100, "duration": 60},
    }
)
def test_the_managers_options_are_settings():
    queue_manager.set_organization("acme", tier="enterprise")
    task = submit("DEPLOY")

    assert (task.max_retries, task.ttl) == (3, 3600)
    assert not [m for m in checks.run_checks() if (m.id or "").startswith("psq.")]
