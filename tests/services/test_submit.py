"""Submitting one task: through the gates, into a row, into the line."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from datetime import timezone as zones

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.limits import policies, quota
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_submitted_task_is_a_row_and_stands_in_line(redis):
    make_organization()

    task = queue_manager.add_task(**arguments())

    row = Task.objects.get(pk=task.pk)
    assert (row.state, row.priority, row.ttl, row.max_retries) == (State.WAITING, 0, 3600, 3)
    assert row.deadline - row.queued_at == timedelta(hours=1)
    assert redis.lrange(keys.wait("architect"), 0, -1) == [str(task.pk).encode()]
    told = json.loads(redis.get(keys.task(str(task.pk))))
    assert told["status"] == "pending"
    assert told["input"] == {"prompt": "Create a SaaS dashboard"}


def test_it_is_charged_once_and_the_ledger_says_why(redis):
    make_organization()

    task = queue_manager.add_task(**arguments())

    usage = MonthlyUsage.objects.get()
    assert (usage.organization_id, usage.type, usage.used) == ("acme", "ARCHITECT", 1)
    entry = UsageEntry.objects.get()
    assert (entry.reason, entry.units, entry.task_id) == ("reserve", 1, task.pk)
    assert redis.get(keys.usage("acme", "ARCHITECT", usage.month)) == b"1"


def test_added_is_told_to_listeners(redis):
    make_organization()

    task = queue_manager.add_task(**arguments())

    ((_, fields),) = redis.xrange(keys.events())
    told = json.loads(fields[b"event"])
    assert (told["name"], told["jobId"], told["type"]) == ("taskAdded", str(task.pk), "ARCHITECT")


def test_the_common_submit_costs_few_queries(django_assert_num_queries):
    make_organization()
    queue_manager.add_task(**arguments())

    # The organization, its counter, the ledger and the task in one statement; on SQLite those are
    # three in a transaction. No savepoints.
    expected = 1 if connection.vendor == "postgresql" else 5
    with django_assert_num_queries(expected, info="a submit got more expensive"):
        queue_manager.add_task(**arguments())


def test_a_submit_with_a_key_costs_few_queries_too(django_assert_num_queries):
    make_organization()
    queue_manager.add_task(**arguments())

    # The key looked up, BEGIN, the key, what every submit stores, COMMIT.
    expected = 5 if connection.vendor == "postgresql" else 7
    with django_assert_num_queries(expected, info="a submit with a key got more expensive"):
        queue_manager.add_task(**arguments(), idempotency_key="once")


def test_a_row_that_the_database_refuses_is_not_charged():
    make_organization()
    task = queue_manager.add_task(**arguments())
    # Where it is one statement it needs no transaction to be undone.
    around = nullcontext() if quota.is_one_statement() else transaction.atomic()

    tenants = {"acme": policies.read_tenant("acme")}
    charges = quota.charges_of([task], tenants, task.charged_month)

    with pytest.raises(IntegrityError), around:
        quota.reserve(charges, timezone.now(), task=task)

    assert MonthlyUsage.objects.get().used == 1
    assert UsageEntry.objects.count() == 1


def test_nothing_is_published_before_the_callers_commit(redis):
    make_organization()

    with transaction.atomic():
        queue_manager.add_task(**arguments())
        assert redis.llen(keys.wait("architect")) == 0

    assert redis.llen(keys.wait("architect")) == 1


def test_a_rolled_back_submit_leaves_nothing(redis):
    make_organization()

    with pytest.raises(RuntimeError), transaction.atomic():
        queue_manager.add_task(**arguments(idempotency_key="k"))
        raise RuntimeError

    assert not Task.objects.exists()
    assert not UsageEntry.objects.exists()
    assert MonthlyUsage.objects.filter(used__gt=0).count() == 0
    assert redis.llen(keys.wait("architect")) == 0
    assert queue_manager.add_task(**arguments(idempotency_key="k", user_id="bob"))


def test_the_context_of_one_task_is_not_that_of_the_next():
    make_organization()

    queue_manager.add_task(**arguments()).context["previousTasks"].append("mine")

    assert queue_manager.add_task(**arguments()).context["previousTasks"] == []


def test_a_task_for_later_is_scheduled_and_lives_from_then_on(redis):
    make_organization()
    later = timezone.now() + timedelta(hours=2)

    task = queue_manager.add_task(**arguments(run_at=later, ttl=60))

    assert (task.state, task.wake_at) == (State.SCHEDULED, later)
    assert task.deadline == later + timedelta(seconds=60)
    assert redis.llen(keys.wait("architect")) == 0
    assert redis.zcard("rq:scheduled:architect") == 1


def test_a_time_that_is_past_means_now_in_any_zone():
    make_organization()
    past = datetime(2020, 1, 1, tzinfo=zones(timedelta(hours=5)))

    assert queue_manager.add_task(**arguments(run_at=past)).state == State.WAITING


def test_organizations_must_be_known_and_active():
    with pytest.raises(errors.OrganizationUnknown):
        queue_manager.add_task(**arguments())
    make_organization(is_suspended=True)
    with pytest.raises(errors.OrganizationSuspended):
        queue_manager.add_task(**arguments())


@pytest.mark.parametrize(
    ("tier", "type_", "expected"),
    [("enterprise", "CODE", 0), ("free", "CODE", 3), (None, "DEPLOY", 1), (None, "EXPORT", 3)],
)
def test_priority_comes_from_the_tier_or_else_the_queue(tier, type_, expected):
    make_organization(tier=tier)

    assert queue_manager.add_task(**arguments(type=type_)).priority == expected


def test_a_caller_may_lower_its_priority_but_not_raise_it():
    make_organization(tier="starter")

    assert queue_manager.add_task(**arguments(priority=3)).priority == 3
    with pytest.raises(errors.PermissionRefused) as refused:
        queue_manager.add_task(**arguments(priority=1))
    assert refused.value.details == {"field": "priority", "highest": 2}


BAD = {
    "type": ["NOTHING", None, 3, "code"],
    "project_id": ["", "x" * 129, "a\x00b", "a\nb", "a\ud800", 7, None],
    "user_id": ["", "tab\t"],
    "input": [
        {},
        {"prompt": ""},
        {"prompt": "x", "more": 1},
        "x",
        None,
        {"prompt": "a\x00"},
        {"prompt": {1}},
    ],
    "priority": [-1, 4, True, "1"],
    "max_retries": [-1, 101, True, 1.5],
    "ttl": [0, -5, True, 10**9],
    "run_at": [
        datetime(2026, 1, 1),
        "tomorrow",
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=zones(timedelta(hours=5))),
        datetime.max.replace(tzinfo=zones(-timedelta(hours=5))),
    ],
    "depends_on": ["not-an-id", ["no"], 5],
    "idempotency_key": ["", "x" * 256, 3],
    "context": [
        [],
        {"iterationCount": 1},
        {"previousTasks": []},
        {"chainedTasks": []},
        {"unknown": 1},
        {"maxIterations": 0},
        {"userFeedback": "text"},
        {"userFeedback": [""]},
        {"userFeedback": ["a\x00"]},
        {"parentTaskId": "no"},
    ],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in BAD.items() for v in values])
def test_what_is_not_valid_is_refused_by_name(field, value):
    make_organization()

    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.add_task(**{**arguments(), field: value})

    assert refused.value.details["field"].startswith(field)
    assert refused.value.details["errors"][0]["msg"]
    assert not Task.objects.exists()


def test_an_input_that_is_too_large_is_refused(settings):
    settings.PLUGSPACE_QUEUE = {"MAX_INPUT": 1000}
    make_organization()

    with pytest.raises(errors.PayloadTooLarge) as refused:
        queue_manager.add_task(**arguments(input={"prompt": "é" * 600}))

    assert refused.value.details == {"size": 1213, "limit": 1000}


def test_a_full_window_refuses_the_next_request_unless_the_code_is_trusted(redis):
    organization = make_organization()
    organization.tier.request_limit = 2
    organization.tier.save()
    for _ in range(2):
        queue_manager.add_task(**arguments())

    with pytest.raises(errors.RequestRateLimited) as refused:
        queue_manager.add_task(**arguments())

    assert 0 < refused.value.retry_after <= 60
    assert refused.value.details["limit"] == 2
    assert queue_manager.add_task(**arguments(), limit_requests=False)
    assert redis.get(keys.ratelimit("acme")) == b"2"


def test_a_used_up_quota_refuses_and_says_when_it_is_renewed():
    make_organization(tier="free")
    queue_manager.add_task(**arguments(type="DEPLOY"))

    with pytest.raises(errors.QuotaExceeded) as refused:
        queue_manager.add_task(**arguments(type="DEPLOY"))

    told = refused.value.details
    assert (told["type"], told["used"], told["limit"]) == ("DEPLOY", 1, 1)
    assert datetime.fromisoformat(told["period_end"]) > timezone.now()
    assert Task.objects.count() == 1


def test_a_refused_submit_leaves_the_callers_transaction_usable():
    make_organization(tier="free")

    with transaction.atomic():
        queue_manager.add_task(**arguments(type="DEPLOY"))
        with pytest.raises(errors.QuotaExceeded):
            queue_manager.add_task(**arguments(type="DEPLOY"))
        queue_manager.add_task(**arguments())

    assert Task.objects.count() == 2
