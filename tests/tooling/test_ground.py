"""What every other test stands on: its own server, its own database, and a way to wait."""

import os

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import TransactionTestCase
from redis import Redis

from plugspace_queue import embedded_redis
from plugspace_queue.models import QueueSettings
from project import environment
from tests import economy
from tests.factories import make_task
from tests.support import child_environment, wait_until


def test_the_tests_have_a_server_of_their_own(redis: Redis):
    assert embedded_redis.socket_path().startswith(os.environ["PLUGSPACE_EMBEDDED_DIR"])
    assert redis.info()["process_id"] > 0


@pytest.mark.parametrize("run", [1, 2])
def test_nothing_of_one_test_is_left_for_the_next(redis: Redis, run: int):
    assert redis.dbsize() == 0

    redis.set("left", run)


@pytest.mark.django_db(transaction=True)
def test_a_child_process_is_told_the_database_of_the_running_test():
    told = environment.database(child_environment()["DATABASE_URL"])

    assert told["NAME"] == str(settings.DATABASES["default"]["NAME"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_wait_until_hands_out_what_it_waited_for():
    answers = iter([None, "", "here"])

    assert wait_until(lambda: next(answers)) == "here"


def test_wait_until_fails_with_the_message_of_the_caller():
    with pytest.raises(AssertionError, match="the lamp is still off"):
        wait_until(lambda: False, timeout=0.05, message="the lamp is still off")


@pytest.mark.postgres
def test_a_postgresql_of_the_tests_own_answers(postgres_url: str):
    with psycopg.connect(postgres_url) as postgres:
        assert postgres.execute("SELECT 1").fetchone() == (1,)


def held() -> dict[str, list[str]]:
    """The keys of all rows; of a permission, what it permits."""
    models = [model for model in apps.get_models() if model._meta.managed]
    rows = {model._meta.label: list(model._base_manager.all()) for model in models}
    names = sorted(Permission.objects.values_list("codename", flat=True))
    return {label: sorted(str(row.pk) for row in of) for label, of in rows.items()} | {
        Permission._meta.label: names
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("few", [0, 1000], ids=["many rows", "few rows"])
def test_after_a_test_that_commits_the_database_holds_what_a_new_one_does(
    few: int, monkeypatch: pytest.MonkeyPatch
):
    case = TransactionTestCase()
    economy.flush(case)
    economy.empty(case)
    new = held()
    monkeypatch.setattr(economy, "FEW", few)

    make_task()
    Group.objects.create(name="readers").permissions.add(Permission.objects.all()[0])
    QueueSettings.objects.all().delete()
    economy.empty(case)

    assert held() == new


@pytest.mark.django_db(transaction=True)
def test_permissions_that_a_test_has_changed_are_written_again():
    case = TransactionTestCase()
    economy.empty(case)
    new = held()[Permission._meta.label]

    kind = ContentType.objects.get_for_model(Group)
    Permission.objects.filter(content_type=kind).delete()
    Permission.objects.create(content_type=kind, codename="greet", name="Can greet")
    economy.empty(case)

    assert held()[Permission._meta.label] == new
