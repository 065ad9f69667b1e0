"""What every other test stands on: its own server, its own database, and a way to wait."""

import os

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from redis import Redis

from plugspace_queue import embedded_redis
from project import environment
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
