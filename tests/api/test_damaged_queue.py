"""While the data of one queue in Redis is damaged, callers hear of all others as ever."""

import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from redis import Redis

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from tests.api.conftest import ApiClient
from tests.factories import arguments
from tests.faults.test_damaged_queue import LINES

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = LINES | {"lane": keys.lane("architect", 3, "acme")}


def damage(redis: Redis, place: str) -> None:
    redis.delete(PLACES[place])
    redis.set(PLACES[place], "somebody else's")


def rows_of(client: ApiClient) -> dict[str, Any]:
    answer = client.ask("queues/")
    assert answer.status_code == 200, answer.content
    return {row["type"]: row for row in answer.json()["results"]}


@pytest.fixture
def tasks(acme: ApiClient) -> dict[str, str]:
    """One task of the queue that is damaged, and one of another, by type."""
    types = ("ARCHITECT", "CODE")
    return {type: str(queue_manager.add_task(**arguments(type=type)).pk) for type in types}


@pytest.mark.parametrize("place", PLACES)
def test_other_queues_and_their_tasks_are_told_of(
    acme: ApiClient, staff: ApiClient, tasks: dict[str, str], redis: Redis, place: str
):
    damage(redis, place)

    for client in (acme, staff):
        rows = rows_of(client)
        assert len(rows) == 6
        # Rows tell what waits; what runs is told by Redis alone.
        assert rows["ARCHITECT"]["waiting"] == 1
        assert rows["ARCHITECT"]["active"] in (0, None)
        assert (rows["CODE"]["waiting"], rows["CODE"]["active"]) == (1, 0)
        assert client.ask("queues/architect/").json() == rows["ARCHITECT"]
        assert client.ask("queues/code/").json() == rows["CODE"]
    assert acme.ask(f"tasks/{tasks['CODE']}/explain/").status_code == 200


@pytest.mark.parametrize("place", ["running", "lane"])
def test_a_tenant_is_told_nothing_of_what_runs_in_the_damaged_one(
    acme: ApiClient, tasks: dict[str, str], redis: Redis, place: str
):
    damage(redis, place)

    assert rows_of(acme)["ARCHITECT"]["active"] is None


def test_a_count_of_what_runs_that_is_no_number_is_not_told(
    acme: ApiClient, tasks: dict[str, str], redis: Redis
):
    redis.hset(keys.running("architect"), "acme", "many")

    assert rows_of(acme)["ARCHITECT"]["active"] is None


@pytest.mark.parametrize("place", ["active", "meta", "delayed"])
def test_staff_and_python_are_told_nothing_of_what_runs_in_the_damaged_one(
    staff: ApiClient, tasks: dict[str, str], redis: Redis, place: str
):
    damage(redis, place)
    out = io.StringIO()

    call_command("queue_stats", "--json", stdout=out)

    told = {row["type"]: row["active"] for row in json.loads(out.getvalue())}
    assert told.pop("ARCHITECT") is rows_of(staff)["ARCHITECT"]["active"] is None
    assert set(told.values()) == {0}
    call_command("queue_stats", stdout=out)
    assert "None" not in out.getvalue()


def test_explain_says_that_the_data_of_the_tasks_own_queue_is_damaged(
    acme: ApiClient, tasks: dict[str, str], redis: Redis
):
    damage(redis, "own")

    answer = acme.ask(f"tasks/{tasks['ARCHITECT']}/explain/")

    assert answer.status_code == 503
    assert "damaged" in answer.json()["detail"]
    with pytest.raises(errors.Unavailable, match="damaged"):
        queue_manager.explain(tasks["ARCHITECT"])
