"""Organizations, their tiers, and what Redis knows of them."""

import pytest

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.limits import policies, registrations
from plugspace_queue.models import Organization, QueueSettings, TierPolicy, defaults
from tests.factories import arguments

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_organization_is_made_and_changed(redis):
    made = queue_manager.set_organization("acme", tier="starter", name="Acme")
    assert (made.tier_id, made.name) == ("starter", "Acme")
    assert redis.get(keys.organization_tier("acme")) == b"starter"

    changed = queue_manager.set_organization("acme", tier="enterprise")

    assert (changed.tier_id, changed.name) == ("enterprise", "Acme")
    assert redis.get(keys.organization_tier("acme")) == b"enterprise"
    assert queue_manager.set_organization("acme").tier_id == "enterprise"
    assert queue_manager.set_organization("acme", tier="").tier_id is None


def test_a_new_tier_holds_for_the_next_task():
    queue_manager.set_organization("acme", tier="free")
    assert queue_manager.add_task(**arguments()).priority == 3

    queue_manager.set_organization("acme", tier="professional")

    assert queue_manager.add_task(**arguments()).priority == 1


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, "a\n", "ä", 5, None])
def test_ids_are_letters_digits_dash_and_underscore(bad):
    with pytest.raises(errors.ValidationRefused):
        queue_manager.set_organization(bad)


def test_a_tier_nobody_has_made_is_refused():
    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.set_organization("acme", tier="gold")

    assert "enterprise" in str(refused.value)
    assert not Organization.objects.exists()


def test_a_customer_list_is_synced_in_a_few_statements(redis, django_assert_max_num_queries):
    queue_manager.set_organization("org-1", tier="free", name="Old")
    rows = [{"id": f"org-{n}", "tier": "starter", "name": f"Org {n}"} for n in range(300)]

    with django_assert_max_num_queries(8):
        assert queue_manager.set_organizations(rows) == 300

    assert Organization.objects.filter(tier="starter").count() == 300
    assert Organization.objects.get(pk="org-1").name == "Org 1"
    assert redis.get(keys.organization_tier("org-299")) == b"starter"


def test_one_bad_row_of_the_list_refuses_all():
    with pytest.raises(errors.ValidationRefused) as refused:
        queue_manager.set_organizations([{"id": "a"}, {"id": "b", "tier": "gold"}])

    assert refused.value.details["index"] == 1
    assert not Organization.objects.exists()


def test_an_operators_change_of_a_queue_is_in_redis_with_the_commit(redis):
    row = QueueSettings.objects.get(type="CODE")
    row.limiter_max, row.limiter_duration, row.organization_concurrency = 7, 2.5, 2
    row.policy = "weighted"

    row.save()

    meta = {key.decode(): value.decode() for key, value in redis.hgetall(keys.meta("code")).items()}
    assert "7" in meta.values()
    assert "2500" in meta.values()


def test_rows_win_over_code_and_code_over_settings_and_settings_over_seed(settings):
    assert policies.queue_settings("CODE").concurrency == 3
    settings.PLUGSPACE_QUEUE = {"CONCURRENCY": {"CODE": 4}}
    assert policies.queue_settings("CODE").concurrency == 4
    before = registrations._declared.get("CODE", registrations.Declared())
    registrations.declare("CODE", concurrency=6)
    try:
        assert policies.queue_settings("CODE").concurrency == 6
        row = QueueSettings.objects.get(type="CODE")
        row.concurrency = 8
        row.save()
        assert policies.queue_settings("CODE").concurrency == 8
        assert policies.differing("CODE") == ["concurrency"]
    finally:
        registrations._declared["CODE"] = before


def test_tiers_are_born_with_the_request_limit_of_the_settings(settings):
    TierPolicy.objects.get(slug="free").delete()
    starter = policies.plan_of(TierPolicy.objects.get(slug="starter"))
    settings.PLUGSPACE_QUEUE = {"RATE_LIMIT": {"max": 1, "duration": 30.0}}

    defaults.create_missing()

    policies.clear_cache()
    free = policies.plan_of(None)
    assert (free.request_limit, free.request_window) == (1, 30.0)
    assert policies.plan_of(TierPolicy.objects.get(slug="starter")) == starter
