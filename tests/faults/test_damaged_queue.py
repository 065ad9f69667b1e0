"""What one queue keeps in Redis is damaged: it rests and says so, and no other queue does."""

import json
import threading

import pytest
from django.core.management import call_command
from django.test import Client, override_settings

from plugspace_queue import queue_manager
from plugspace_queue.api import prometheus as metrics_page
from plugspace_queue.broker import keys
from plugspace_queue.dashboards import queues as board
from plugspace_queue.domain.task_types import TaskType
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120)]

SOON = {"RELAY_INTERVAL": 0.3, "LEASE": 3.0, "METRICS_TOKEN": "for-the-scraper"}

LINES = {
    "the ring": keys.queue("architect"),
    "wait": keys.wait("architect"),
    "active": keys.active("architect"),
    "idx": keys.idx("architect"),
    "own": keys.own("architect"),
    "lease": keys.lease("architect"),
    "meta": keys.meta("architect"),
    "marker": keys.marker("architect"),
    "limiter": keys.limiter("architect"),
    "running": keys.running("architect"),
    "parked": keys.parked("architect"),
    "vt": keys.virtual_time("architect"),
    "workers": keys.workers("architect"),
    "delayed": "rq:scheduled:architect",
    "inbox": "rq:queue:architect",
    "wip": "rq:wip:architect",
}

SOME = {"active", "own", "marker"}
EACH = [
    pytest.param(place, marks=() if place in SOME else pytest.mark.slow) for place in sorted(LINES)
]

GIVE_WAY = {"marker", "workers"}
"""What nobody needs: work goes on without it."""


@pytest.mark.parametrize("place", EACH)
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_key_of_a_wrong_type_stops_its_own_queue_only(
    processors, crew, redis, until_final, place, caplog
):
    ran = []
    processors("ARCHITECT", lambda context: ran.append(context.task_id))
    processors("CODE", lambda context: "done")
    tasks = [submit("CODE") for _ in range(6)]
    redis.delete(LINES[place])
    redis.set(LINES[place], "somebody else's")
    held = submit()

    made = crew("architect", "code")

    assert [until_final(task).result for task in tasks] == ["done"] * 6
    later = [submit("CODE") for _ in range(3)]
    assert [until_final(task).result for task in later] == ["done"] * 3
    # Each task of the other queue has started once and used one place of its window.
    assert redis.llen(keys.limiter("code")) == 9
    assert {fresh(task).attempt_count for task in [*tasks, *later]} == {1}
    assert made.leases.is_alive() and made.loop.is_alive()

    redis.delete(LINES[place])

    assert until_final(held, timeout=40).state == "complete"
    assert ran == [str(held.pk)]
    if place not in GIVE_WAY:
        told = [r for r in caplog.records if "architect cannot be worked on" in r.message]
        # It was tried again and again, and told once by the pump and once by the ticker.
        assert len(told) <= 2


VALUES = {
    "a start of the limiter": lambda redis: redis.rpush(keys.limiter("architect"), "soon"),
    "the clock of the order": lambda redis: redis.hset(keys.virtual_time("architect"), 0, "late"),
    "a place in wait": lambda redis: redis.hset(keys.idx("architect"), submit().pk.hex, "here"),
    "an owner": lambda redis: redis.hset(keys.own("architect"), str(submit().pk), "me"),
    "running": lambda redis: redis.hset(keys.running("architect"), "acme", "many"),
    "the version of the gates": lambda redis: redis.hset(keys.meta("architect"), "version", "new"),
}


@pytest.mark.parametrize("value", VALUES)
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_value_that_makes_no_sense_stops_its_own_queue_only(
    processors, crew, redis, until_final, value
):
    processors("ARCHITECT", lambda context: "done")
    processors("CODE", lambda context: "done")
    VALUES[value](redis)
    submit()

    crew("architect", "code")

    tasks = [submit("CODE") for _ in range(6)]
    assert [until_final(task).result for task in tasks] == ["done"] * 6
    assert redis.llen(keys.limiter("code")) == 6


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_lifetime_count_that_is_no_number_is_put_right(processors, crew, redis, until_final):
    processors("ARCHITECT", lambda context: "done")
    redis.hset(keys.meta("architect"), "completed", "some")
    tasks = [submit() for _ in range(3)]

    crew("architect")

    assert [until_final(task).result for task in tasks] == ["done"] * 3
    wait_until(lambda: not redis.exists(keys.own("architect")))
    reconcile("--fix")
    assert redis.hget(keys.meta("architect"), "completed") == b"3"


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_strange_result_of_one_task_costs_no_other_its_ending(
    processors, crew, redis, until_running, until_final
):
    go_on = threading.Event()
    processors("ARCHITECT", lambda context: go_on.wait(30))
    tasks = [submit() for _ in range(3)]
    crew("architect")
    for task in tasks:
        until_running(task)
    redis.set(f"rq:results:{tasks[0].pk}", "x")
    redis.delete(keys.workers("architect"))
    redis.set(keys.workers("architect"), "somebody else's")

    go_on.set()
    assert [until_final(task).state for task in tasks] == ["complete"] * 3
    wait_until(lambda: not redis.exists(keys.own("architect"), keys.active("architect")))
    for task in tasks:
        assert json.loads(redis.get(keys.task(str(task.pk))))["state"] == "complete"
        assert redis.xlen(f"rq:results:{task.pk}") == 1
    # Nobody had to repair it.
    wait_until(lambda: redis.type(keys.workers("architect")) == b"zset")


STRANGE_VALUES = {
    "a start of the limiter": lambda redis: redis.rpush(keys.limiter("architect"), "soon"),
    "the clocks of the order": lambda redis: redis.hset(
        keys.virtual_time("architect"), mapping=dict.fromkeys(["0", "entry0", "all"], "late")
    ),
    "how many run": lambda redis: redis.hset(keys.running("architect"), "acme", "many"),
    "what was pushed": lambda redis: redis.rpush("rq:queue:architect", b"\xff\xfe"),
    "the events": lambda redis: redis.delete(keys.events()) and redis.set(keys.events(), "x"),
}


@pytest.mark.parametrize("value", STRANGE_VALUES)
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_work_goes_on_in_spite_of_a_value_that_makes_no_sense(
    processors, work, redis, value, caplog
):
    processors("ARCHITECT", lambda context: "done")
    tasks = [submit() for _ in range(3)]
    STRANGE_VALUES[value](redis)

    work("architect")

    assert [fresh(task).result for task in tasks] == ["done"] * 3
    assert "cannot be worked on" not in caplog.text
    # All of it was told too.
    assert json.loads(redis.get(keys.task(str(tasks[-1].pk))))["state"] == "complete"
    assert redis.llen(keys.limiter("architect")) in (3, 4)
    assert reconcile("--fix")
    assert not redis.exists(keys.own("architect"), keys.running("architect"))


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_reconcile_finds_a_count_that_is_no_number_though_nothing_runs(redis):
    submit()
    assert reconcile("--fix")
    redis.hset(keys.running("architect"), "acme", "many")

    assert not reconcile("--check")
    assert reconcile("--fix")
    assert not redis.exists(keys.running("architect"))


@pytest.mark.parametrize("key", [keys.paused_organizations, keys.events])
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_reconcile_repairs_what_queues_have_in_common(processors, work, redis, key):
    processors("ARCHITECT", lambda context: "done")
    task = submit()
    assert reconcile("--fix")
    redis.delete(key())
    redis.set(key(), "somebody else's")

    assert not reconcile("--check")
    assert reconcile("--fix")

    work("architect")
    assert fresh(task).result == "done"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["lease", "running", "wip", "finished"])
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_an_ending_that_cannot_be_settled_is_settled_whole_when_that_is_repaired(
    processors, crew, redis, until_running, until_final, place
):
    go_on = threading.Event()
    processors("ARCHITECT", lambda context: go_on.wait(30))
    task = submit()
    key = {**LINES, "finished": "rq:finished:architect"}[place]
    crew("architect")
    until_running(task)
    redis.delete(key)
    redis.set(key, "somebody else's")

    go_on.set()
    until_final(task)
    # Repaired by hand, or as here by the workers.
    wait_until(lambda: redis.type(key) != b"string", 40)

    copy = keys.task(str(task.pk))
    wait_until(lambda: json.loads(redis.get(copy))["state"] == "complete", 20)
    wait_until(lambda: not redis.exists(keys.own("architect"), keys.active("architect")))


def reconcile(*arguments):
    """Run the command; whether all is well at its end."""
    try:
        # It looks twice, one lease apart.
        with override_settings(PLUGSPACE_QUEUE=SOON | {"LEASE": 0.2}):
            call_command("queue_reconcile", "--queue", "ARCHITECT", *arguments)
    except SystemExit as end:
        return not end.code
    return True


@pytest.mark.parametrize(
    "strange", ["garbage", "-5", "99999999999999999999", str(2**53), "9" * 5000]
)
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_reconcile_finds_and_repairs_a_strange_fence(acme, redis, strange, capsys):
    submit()
    assert reconcile("--fix")
    redis.hset(keys.meta("architect"), "fence", strange)

    assert not reconcile("--check", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["kinds"] == {"fence_strange": 1}
    assert reconcile("--fix")
    assert redis.hget(keys.meta("architect"), "fence") is None


@pytest.mark.parametrize("field", ["version", "limiter", "concurrency", "paused"])
@pytest.mark.parametrize("strange", ["garbage", "99999999999999"])
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_reconcile_repairs_strange_gates(acme, redis, field, strange):
    submit()
    assert reconcile("--fix")
    before = redis.hget(keys.meta("architect"), field)
    redis.hset(keys.meta("architect"), field, strange)

    assert not reconcile("--check")
    assert reconcile("--fix")
    assert redis.hget(keys.meta("architect"), field) == before


@pytest.mark.parametrize("place", EACH)
@override_settings(PLUGSPACE_QUEUE=SOON)
def test_reconcile_repairs_keys_of_a_wrong_type(processors, work, redis, place):
    processors("ARCHITECT", lambda context: "done")
    tasks = [submit() for _ in range(3)]
    redis.delete(LINES[place])
    redis.set(LINES[place], "somebody else's")

    assert not reconcile("--check")
    assert reconcile("--fix")

    work("architect")
    assert [fresh(task).result for task in tasks] == ["done"] * 3


LONG = SOON | {"LEASE": 30.0}
"""Workers repair it themselves after two looks, one lease apart: not before the test has looked."""


@pytest.fixture
def damaged(processors, crew, redis, until_final):
    """A worker of two queues, one of which is damaged, and both of which were told to work."""
    processors("ARCHITECT", lambda context: "done")
    processors("CODE", lambda context: "done")
    redis.set(keys.active("architect"), "somebody else's")
    held = submit()
    crew("architect", "code")
    assert until_final(submit("CODE")).result == "done"
    wait_until(lambda: redis.exists(keys.trouble("architect")))
    metrics_page.clear_cache()
    board.clear_cache()
    return held


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE=LONG)
def test_probes_metrics_and_the_dashboard_tell_of_it_until_it_is_over(
    damaged, redis, until_final, admin_client
):
    assert Client().get("/readyz").json() == {
        "status": "degraded",
        "database": "ok",
        "redis": "damaged",
    }
    assert 'plugspace_queue_damaged{type="ARCHITECT"} 1' in scrape()
    assert 'plugspace_queue_damaged{type="CODE"} 0' in scrape()
    assert "plugspace_redis_up 1" in scrape()
    cards = {card.type: card for card in board.board().cards}
    assert "WRONGTYPE" in cards[TaskType.ARCHITECT].note
    assert cards[TaskType.CODE].note == "" and cards[TaskType.CODE].gauge is not None
    shown = admin_client.get("/admin/plugspace_queue/queuesettings/dashboard/")
    if shown.status_code == 200:
        assert "damaged" in shown.content.decode()
    assert queue_manager.get_queue_stats("CODE").completed == 1

    redis.delete(keys.active("architect"))

    assert until_final(damaged, timeout=40).result == "done"
    # It is reported for two of the longest pauses, and the last report lives for 15 s.
    wait_until(lambda: Client().get("/readyz").json()["status"] == "ok", 45)


def scrape():
    metrics_page.clear_cache()
    sent = {"Authorization": f"Bearer {SOON['METRICS_TOKEN']}"}
    return Client().get("/metrics", headers=sent).content.decode()


@override_settings(PLUGSPACE_QUEUE=LONG | {"START_PATIENCE": 1.0})
def test_a_burst_works_the_others_off_and_ends_with_an_error(processors, work, redis):
    processors("ARCHITECT", lambda context: "done")
    processors("CODE", lambda context: "done")
    tasks = [submit("CODE") for _ in range(20)]
    held = submit()
    redis.set(keys.own("architect"), "somebody else's")

    with pytest.raises(RuntimeError, match="START_PATIENCE"):
        work("architect", "code")

    assert {fresh(task).state for task in tasks} == {"complete"}
    assert fresh(held).state == "waiting"


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_list_of_newest_tasks_of_a_wrong_type_keeps_no_task_from_the_queue(
    processors, work, redis
):
    processors("ARCHITECT", lambda context: "done")
    redis.delete(keys.organization_tasks("acme"))
    redis.set(keys.organization_tasks("acme"), "somebody else's")

    tasks = [submit() for _ in range(2)]
    work("architect")

    assert [fresh(task).result for task in tasks] == ["done"] * 2
    assert redis.zcard(keys.organization_tasks("acme")) == 2


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_figures_are_shown_in_spite_of_a_tier_of_a_wrong_type(redis):
    submit()
    redis.delete(keys.organization_tier("acme"))
    redis.hset(keys.organization_tier("acme"), "a", "b")

    board.clear_cache()
    cards = {card.type: card for card in board.board().cards}
    assert cards[TaskType.ARCHITECT].gauge is not None


def in_place_of_a_lane(redis, organization):
    """Write another value in the place of the lane in which the organization's tasks wait."""
    (name,) = redis.scan_iter(f"*architect:lane:?:{organization}")
    redis.delete(name)
    redis.set(name, "somebody else's")


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_lane_of_a_wrong_type_keeps_no_other_organization_from_its_turn(processors, work, redis):
    processors("ARCHITECT", lambda context: "done")
    queue_manager.set_organization("bolt", tier="professional")
    lost, others = submit(), [submit(organization_id="bolt") for _ in range(2)]
    in_place_of_a_lane(redis, "acme")

    work("architect")

    assert [fresh(task).result for task in others] == ["done"] * 2
    assert reconcile("--fix")
    work("architect")
    assert fresh(lost).result == "done"


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_reconcile_repairs_a_lane_of_a_wrong_type(processors, work, redis):
    processors("ARCHITECT", lambda context: "done")
    tasks = [submit() for _ in range(3)]
    assert reconcile("--fix")
    in_place_of_a_lane(redis, "acme")

    assert queue_manager.explain(tasks[0].pk)
    board.clear_cache()
    assert not reconcile("--check")
    assert reconcile("--fix")
    assert reconcile("--check")

    queue_manager.cancel(tasks[1].pk)
    work("architect")
    assert [fresh(task).state for task in tasks] == ["complete", "cancelled", "complete"]


@override_settings(PLUGSPACE_QUEUE=SOON)
def test_a_task_in_a_lane_of_a_wrong_type_can_be_cancelled(redis):
    task = submit()
    in_place_of_a_lane(redis, "acme")

    assert queue_manager.cancel(task.pk) == "cancelled"
    assert reconcile("--fix")
