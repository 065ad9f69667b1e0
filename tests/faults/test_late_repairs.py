"""A repair that comes late: what another reconciler has put right meanwhile is left alone."""

from collections.abc import Callable

import pytest
from django.utils import timezone
from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.broker.routing import PerServerErrors
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.maintenance import queue_config
from plugspace_queue.maintenance.reconcile.compare import compare_again, compare_all
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.repair import repair
from tests.broker.tools import Line, texts
from tests.worker.conftest import submit

pytestmark = pytest.mark.usefixtures("acme")


def strange() -> list[Finding]:
    """What a reconciler finds of keys of a wrong type in its second look."""
    now = timezone.now()
    found = [one for part in compare_all(now, [TaskType.CODE]) for one in part.findings]
    found = [one for one in found if one.code == "key_strange"]
    return compare_again(found, now, PerServerErrors())


@pytest.fixture
def line(redis: Redis) -> Line:
    """The queue of CODE with one task that waits."""
    queue_config.repair(timezone.now())
    submit("CODE")
    return Line(redis)


def test_a_second_repair_of_a_key_takes_no_running_task_out_of_it(redis: Redis, line: Line):
    redis.set(keys.own("code"), "strange")
    first, second = strange(), strange()
    assert [one.key for one in second] == [keys.own("code")]
    repair(first, timezone.now())
    (running,) = line.take()

    repair(second, timezone.now())

    assert list(redis.hgetall(keys.own("code"))) == [running.encode()]
    assert texts(redis.lrange(keys.active("code"), 0, -1)) == [running]
    line.check()


@pytest.mark.parametrize(("damaged", "left"), [(keys.idx, 0), (keys.active, 2)])
def test_what_waits_is_written_anew_only_where_its_key_was_deleted(
    redis: Redis, line: Line, damaged: Callable[[str], str], left: int
):
    redis.rpush(keys.wait("code"), "nobody")
    redis.delete(damaged("code"))
    redis.set(damaged("code"), "strange")
    found = strange()
    assert [one.key for one in found] == [damaged("code")]

    repair(found, timezone.now())

    # What is not of idx is taken out when `wait` is written anew.
    assert redis.llen(keys.wait("code")) == left
    assert strange() == []
