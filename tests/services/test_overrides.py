"""Limits and quotas that are overridden for a while, and grants."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.limits import allowances, policies, quota
from plugspace_queue.models import MonthlyUsage, Organization, Override, QueueSettings, Task
from tests.factories import arguments, make_organization
from tests.services.racing import race

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
TYPE = "CODE"
FREE = 5
"""What free grants of it."""


@pytest.fixture(autouse=True)
def acme() -> Organization:
    policies.clear_cache()
    return make_organization(tier="free")


def submit(count: int = 1) -> None:
    for _ in range(count):
        queue_manager.add_task(**arguments(type=TYPE), limit_requests=False)


def refusal() -> dict[str, object]:
    """What the next submit is refused with."""
    with pytest.raises(errors.QuotaExceeded) as refused:
        submit()
    return {"message": refused.value.message, **refused.value.details}


def grant(amount: int = 2, **terms: object) -> Override:
    return queue_manager.grant("acme", TYPE, amount, **{"reason": "launch", **terms})


def begin_earlier(row: Override, **changes: object) -> None:
    """As if it had been made before."""
    changes = {"starts_at": row.starts_at - 2 * HOUR, **changes}
    Override.objects.filter(pk=row.pk).update(**changes)


def test_a_grant_adds_to_the_quota_and_the_refusal_names_both():
    submit(FREE)
    assert refusal()["limit"] == FREE

    grant(2)

    submit(2)
    told = refusal()
    assert (told["used"], told["limit"], told["granted"]) == (FREE + 2, FREE + 2, 2)
    assert f"7 of {FREE + 2} (2 of them granted) are used" in str(told["message"])
    assert MonthlyUsage.objects.get().used == FREE + 2


def test_grants_are_added_up_and_a_grant_of_another_type_or_organization_does_not_count():
    make_organization("other", tier="free")
    grant(1)
    grant(2)
    queue_manager.grant("acme", "DEPLOY", 50, reason="launch")
    queue_manager.grant("other", TYPE, 50, reason="launch")

    submit(FREE + 3)

    assert refusal()["limit"] == FREE + 3


def test_a_grant_counts_from_its_start_to_just_before_its_end():
    submit(FREE)
    later = grant(starts=timezone.now() + HOUR, until=timezone.now() + 2 * HOUR)
    assert refusal()["limit"] == FREE

    begin_earlier(later)
    submit()
    begin_earlier(later, starts_at=timezone.now() - 2 * HOUR, ends_at=timezone.now())

    told = refusal()
    assert (told["used"], told["limit"], told.get("granted")) == (FREE + 1, FREE, None)


def test_a_grant_that_is_ended_counts_no_more_and_what_was_accepted_stays():
    submit(FREE)
    row = grant(3)
    submit(2)

    queue_manager.end_override(row.pk)

    assert refusal()["limit"] == FREE
    assert MonthlyUsage.objects.get().used == FREE + 2
    with pytest.raises(errors.InvalidState, match="has ended already"):
        queue_manager.end_override(row.pk)


def test_a_quota_takes_the_place_of_the_tiers_and_grants_are_added_to_it():
    queue_manager.override_quota("acme", TYPE, 1, reason="abuse")

    submit()
    assert refusal()["limit"] == 1

    grant(2)
    submit(2)
    assert refusal()["limit"] == 3


def test_of_several_quotas_the_newest_counts_until_it_ends():
    queue_manager.override_quota("acme", TYPE, 0, reason="abuse")
    newest = queue_manager.override_quota("acme", TYPE, -1, reason="a mistake")
    submit(FREE + 5)

    queue_manager.end_override(newest.pk)

    assert refusal()["limit"] == 0


def test_a_lower_quota_refuses_at_once_whatever_was_remembered():
    submit()

    queue_manager.override_quota("acme", TYPE, 1, reason="abuse")

    assert refusal()["limit"] == 1


def test_a_grant_to_an_organization_without_a_limit_changes_nothing():
    make_organization(tier="enterprise")
    grant(1)

    submit(3)

    assert MonthlyUsage.objects.get().used == 3


def test_the_largest_quota_and_a_grant_are_added_without_an_overflow():
    queue_manager.override_quota("acme", TYPE, 2**63 - 1, reason="wholesale")
    grant(1_000_000_000)

    submit(2)

    assert MonthlyUsage.objects.get().used == 2


def test_a_bulk_and_a_workflow_count_grants_too():
    queue_manager.grant("acme", "DEPLOY", 1, reason="launch")
    item = arguments(type="DEPLOY")

    queue_manager.add_tasks([item, item], limit_requests=False)

    with pytest.raises(errors.QuotaExceeded) as refused:
        queue_manager.add_tasks([item], limit_requests=False)
    assert refused.value.details["limit"] == 2
    submit(FREE)
    with pytest.raises(errors.QuotaExceeded, match="quota for CODE"):
        queue_manager.add_workflow("site", "ann", "acme", {"prompt": "x"}, limit_requests=False)
    grant(1)
    queue_manager.add_workflow("site", "ann", "acme", {"prompt": "x"}, limit_requests=False)
    assert MonthlyUsage.objects.get(type=TYPE).used == FREE + 1


def test_a_submit_in_the_callers_transaction_counts_a_grant_and_leaves_the_transaction_usable():
    submit(FREE)
    grant(1)

    with transaction.atomic():
        submit()
        refusal()

    assert Task.objects.count() == FREE + 1


def test_racing_submits_never_take_more_than_quota_and_grants():
    submit(FREE)
    grant(3)

    got = race(8, lambda _: queue_manager.add_task(**arguments(type=TYPE)))

    assert sum(isinstance(one, Task) for one in got) == 3
    assert MonthlyUsage.objects.get().used == FREE + 3


def test_what_is_shown_is_what_the_statement_counts():
    queue_manager.override_quota("acme", TYPE, 7, reason="launch")
    grant(2)
    plan = policies.read_tenant("acme").plan

    found = allowances.allowances("acme", plan, timezone.now())[TYPE]

    assert (found.planned, found.base, found.granted, found.quota) == (FREE, 7, 2, 9)
    assert [row.key for row in found.overrides] == ["quota", "grant"]
    submit(9)
    assert refusal()["limit"] == found.quota


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("amount", value) for value in (0, -1, True, "5", 1.5, None, 10**12)],
        *[("type", value) for value in ("NOTHING", "code", None)],
        *[("until", value) for value in (LONG_AGO, "soon", 5, datetime(2999, 1, 1, tzinfo=UTC))],
        ("until", datetime.now()),
        ("starts", "soon"),
        *[("reason", value) for value in ("", "  ", None, "x" * 201, "a\x00b")],
        ("author", "x" * 151),
    ],
)
def test_what_is_not_valid_is_refused_by_name_and_leaves_nothing(field: str, value: object):
    given = {"type": TYPE, "amount": 1, "reason": "launch", field: value}

    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.grant("acme", **given)

    assert refused.value.details["field"] == field
    assert not Override.objects.exists()


def test_an_end_before_the_start_is_refused():
    with pytest.raises(errors.ValidationRefused, match="until: must be after the start"):
        grant(starts=timezone.now() + 2 * HOUR, until=timezone.now() + HOUR)


def test_unknown_organizations_and_overrides_are_said_so():
    with pytest.raises(errors.OrganizationUnknown):
        queue_manager.grant("nobody", TYPE, 1, reason="launch")
    for unknown in (4711, 0, -1, "x", None, True, 2**70):
        with pytest.raises(errors.NotFound):
            queue_manager.end_override(unknown)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"limiter": {"max": 5}},
        {"limiter": {"max": 0, "duration": 60}},
        {"limiter": {"max": 5, "duration": 0}},
        {"limiter": 5},
        {"concurrency": 0},
        {"organization_concurrency": True},
        {"global_concurrency": "5"},
    ],
)
def test_limits_that_are_not_valid_are_refused_and_leave_nothing(limits: dict[str, object]):
    with pytest.raises(errors.ValidationRefused):
        queue_manager.override_queue(TYPE, **{"concurrency": None, **limits}, reason="launch")

    assert not Override.objects.exists()


@pytest.mark.parametrize(
    "columns",
    [
        {"organization_id": "acme", "key": "limiter", "value": 5, "duration": 60},
        {"key": "grant", "value": 5},
        {"key": "concurrency", "value": 0},
        {"key": "concurrency", "value": 5, "duration": 60},
        {"key": "limiter", "value": 5},
        {"key": "limiter", "value": 5, "duration": 0},
        {"organization_id": "acme", "key": "quota", "value": -2},
        {"organization_id": "acme", "key": "grant", "value": 0},
        {"key": "concurrency", "value": 5, "ends_at": LONG_AGO},
        {"key": "nothing", "value": 5},
    ],
)
def test_the_database_itself_refuses_rows_that_mean_nothing(columns: dict[str, object]):
    with pytest.raises(IntegrityError):
        Override.objects.create(type=TYPE, reason="launch", **columns)


def test_limits_are_overridden_for_a_while_and_the_row_stays_as_it_is(redis):
    queue_manager.set_queue(TYPE, {"limiter": {"max": 8, "duration": 30}})
    before = QueueSettings.objects.values().get(pk=TYPE)

    made = queue_manager.override_queue(
        TYPE,
        limiter={"max": 200, "duration": 60},
        organization_concurrency=7,
        until=timezone.now() + HOUR,
        reason="launch",
        author="kim",
    )

    now = policies.queue_settings(TYPE)
    assert (now.limiter_max, now.limiter_duration, now.organization_concurrency) == (200, 60, 7)
    assert (now.concurrency, set(now.overrides)) == (3, set(made))
    assert redis.hmget(keys.meta("code"), "limiter", "limiter_ms", "org_cap") == [
        b"200",
        b"60000",
        b"7",
    ]
    assert QueueSettings.objects.values().get(pk=TYPE) == before

    for row in made:
        queue_manager.end_override(row.pk)

    assert policies.queue_settings(TYPE).limiter_max == 8
    assert redis.hmget(keys.meta("code"), "limiter", "org_cap") == [b"8", b"0"]


def test_the_newest_of_several_limits_counts_and_the_older_one_after_it():
    queue_manager.override_queue(TYPE, concurrency=6, reason="launch")
    newest = queue_manager.override_queue(TYPE, concurrency=9, reason="a larger launch")
    assert policies.queue_settings(TYPE).concurrency == 9

    queue_manager.end_override(newest[0].pk)

    assert policies.queue_settings(TYPE).concurrency == 6


def test_a_change_of_the_row_waits_until_the_override_is_over(redis):
    [row] = queue_manager.override_queue(TYPE, concurrency=9, reason="launch")

    assert queue_manager.set_queue(TYPE, {"concurrency": 4}).concurrency == 9
    queue_manager.end_override(row.pk)

    assert policies.queue_settings(TYPE).concurrency == 4


def test_an_override_that_is_ended_before_it_begins_never_begins():
    [row] = queue_manager.override_queue(
        TYPE, concurrency=9, starts=timezone.now() + HOUR, reason="launch"
    )

    assert queue_manager.get_overrides(TYPE) == [row]

    ended = queue_manager.end_override(row.pk)

    assert ended.ends_at == ended.starts_at < row.starts_at
    assert queue_manager.get_overrides(TYPE) == []
    assert not ended.is_in_force(row.starts_at)


def test_overrides_are_listed_newest_first_with_and_without_those_that_are_over():
    first, second = grant(1), grant(2)
    queue_manager.end_override(first.pk)

    assert queue_manager.get_overrides(organization_id="acme") == [second]
    assert queue_manager.get_overrides(organization_id="acme", has_ended=True) == [second, first]
    assert queue_manager.get_overrides(TYPE) == []
    with pytest.raises(errors.ValidationRefused):
        queue_manager.get_overrides()


def test_a_remembered_counter_costs_one_statement_more_once(django_assert_num_queries):
    if not quota.is_one_statement():
        pytest.skip("one statement is PostgreSQL's")
    quota._overridden.clear()
    submit(FREE)
    grant(3)
    # The plain statement, the tenant, the counter with what is granted, the whole statement.
    with django_assert_num_queries(4):
        submit()
    with django_assert_num_queries(1):
        submit()
