"""`queue_prune --dropped TYPE` removes what Redis holds of a type, and the rows stay."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from redis import Redis

from plugspace_queue import queue_manager, testing
from plugspace_queue.domain.catalog import open_for_declarations
from plugspace_queue.models import Task
from tests.catalog.conftest import Declare
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db(transaction=True)


def pruned(name: str, **options: Any) -> str:
    out = StringIO()
    call_command("queue_prune", dropped=name, stdout=out, **options)
    return out.getvalue().strip()


def keys_of(redis: Redis) -> set[str]:
    return {key.decode() for key in redis.scan_iter() if b"gone" in key.lower()}


@pytest.fixture
def gone(declare: Declare, redis: Redis) -> list[Task]:
    """Tasks of a type that is not declared any more: two wait, one is complete, one is delayed."""
    make_organization("acme")
    asked = {"type": "GONE", "project_id": "p", "user_id": "u", "organization_id": "acme"}
    with open_for_declarations():
        declare("GONE")
        queue_manager.set_queue("GONE", {"concurrency": 2})
        done = queue_manager.add_task(**asked, input={})
        with testing.processors({"GONE": lambda context: "done"}):
            testing.run_pending("GONE")
        waiting = [queue_manager.add_task(**asked, input={}) for _ in range(3)]
    return [done, *waiting]


def test_the_keys_of_the_type_go_and_others_and_the_rows_stay(gone: list[Task], redis: Redis):
    other = queue_manager.add_task(**arguments())
    before = {key for key in redis.scan_iter() if str(other.pk).encode() in key}
    assert keys_of(redis)

    told = pruned("gone")

    assert told.startswith("GONE: ")
    assert (
        not keys_of(redis)
        - {"plugspace:usage:acme:GONE:" + gone[0].charged_month}
        - {f"plugspace:usage:acme:GONE:{gone[0].charged_month}:version"}
    )
    left = [key for key in redis.scan_iter() if any(str(t.pk).encode() in key for t in gone)]
    assert left == []
    assert {key for key in redis.scan_iter() if str(other.pk).encode() in key} == before
    assert Task.objects.filter(type="GONE").count() == 4


def test_a_dry_run_removes_nothing(gone: list[Task], redis: Redis):
    before = keys_of(redis)

    assert pruned("GONE", dry_run=True) == "GONE: its queue and copies of 4 tasks would be removed"
    assert keys_of(redis) == before


@pytest.mark.parametrize("name", ["CODE", "EVENTS", "TASK", "a b", "*"])
def test_what_is_declared_or_can_be_no_type_is_refused(name: str, redis: Redis):
    with pytest.raises(CommandError):
        pruned(name)


@pytest.mark.slow
def test_a_type_that_comes_back_is_published_again(
    gone: list[Task], declare: Declare, redis: Redis
):
    pruned("GONE")
    declare("GONE")

    call_command("queue_reconcile", fix=True, stdout=StringIO())

    assert redis.llen("plugspace:gone:wait") == 3
