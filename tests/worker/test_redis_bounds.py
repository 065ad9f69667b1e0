"""What one organization can fill Redis with: results, copies of tasks, events and exports."""

import json
from typing import Any

import pytest
from django.test import Client, override_settings
from redis import Redis

from plugspace_queue import errors, exports, queue_manager
from plugspace_queue.models import ApiKey, Organization, Task
from tests.maintenance.scene import kinds_found, reconcile
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")

KIB = 1024


def result_of(redis: Redis, task: Task) -> Any:
    return json.loads(redis.get(f"plugspace:result:{task.pk}:{task.type}"))


def copy_of(redis: Redis, task: Task) -> Any:
    return json.loads(redis.get(f"plugspace:task:{task.pk}"))


def events_of(redis: Redis, name: str) -> list[Any]:
    bodies = [json.loads(fields[b"event"]) for _, fields in redis.xrange("plugspace:events")]
    return [body for body in bodies if body["name"] == name]


def bytes_under(redis: Redis, pattern: str) -> int:
    return sum(redis.strlen(key) for key in redis.scan_iter(pattern, count=1000))


def rest(task: Task) -> Any:
    _, secret = ApiKey.issue(Organization.objects.get(pk=task.organization_id), ["read"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    return client.get(f"/api/v1/tasks/{task.pk}/").json()


def test_a_large_result_is_in_sql_and_redis_has_a_note_of_where(processors, work, redis):
    large = {"page": "é" * 600_000}
    processors("ARCHITECT", lambda context: large)
    task = submit()

    work("architect")

    told = result_of(redis, task)
    path = f"/api/v1/tasks/{task.pk}/"
    assert told == {"note": told["note"], "taskId": str(task.pk), "path": path}
    assert "not kept in Redis" in told["note"]
    assert 0 < redis.ttl(f"plugspace:result:{task.pk}:ARCHITECT") <= 86_400
    assert rest(task)["result"] == large
    assert queue_manager.get_task(task.pk).result == large
    assert copy_of(redis, task)["resultOmitted"] is True
    assert [event["resultOmitted"] for event in events_of(redis, "taskCompleted")] == [True]


@override_settings(PLUGSPACE_QUEUE={"SNAPSHOT_LIMIT": 100})
@pytest.mark.parametrize(("size", "is_kept"), [(98, True), (99, False)])
def test_the_limit_of_a_result_is_that_of_a_snapshot_to_the_byte(
    processors, work, redis, size, is_kept
):
    processors("ARCHITECT", lambda context: "x" * size)
    task = submit()

    work("architect")

    assert (result_of(redis, task) == "x" * size) is is_kept
    assert ("taskId" in result_of(redis, task)) is not is_kept


@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB})
def test_above_its_budget_an_organization_gets_notes_and_no_other_one_does(processors, work, redis):
    queue_manager.set_organization("bolt", tier="enterprise")
    processors("ARCHITECT", lambda context: "r" * (30 * KIB))
    tasks = [submit() for _ in range(6)]
    other = submit(organization_id="bolt")

    work("architect")

    whole = [task for task in tasks if isinstance(result_of(redis, task), str)]
    noted = [task for task in tasks if task not in whole]
    assert (len(whole), len(noted)) == (3, 3)
    assert {result_of(redis, task)["taskId"] for task in noted} == {str(t.pk) for t in noted}
    assert isinstance(result_of(redis, other), str)
    for task in tasks:
        assert rest(task)["result"] == fresh(task).result == "r" * (30 * KIB)
        assert copy_of(redis, task).get("resultOmitted", False) is (task in noted)
    told = {body["jobId"]: body for body in events_of(redis, "taskCompleted")}
    for task in tasks:
        assert told[str(task.pk)].get("resultOmitted", False) is (task in noted)
        assert (told[str(task.pk)]["result"] is None) is (task in noted)
    assert 0 < redis.ttl("plugspace:org:acme:written") <= 86_400 * 24 / 23 + 1


@pytest.mark.parametrize("budget", [0, None])
def test_without_a_budget_every_result_within_the_limit_is_kept(
    settings, processors, work, redis, budget
):
    settings.PLUGSPACE_QUEUE = {"PAYLOAD_BUDGET": budget}
    processors("ARCHITECT", lambda context: "r" * (30 * KIB))
    tasks = [submit() for _ in range(4)]

    work("architect")

    assert all(isinstance(result_of(redis, task), str) for task in tasks)
    assert not redis.exists("plugspace:org:acme:written")


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 40 * KIB, "RESULT_TTL": 2})
def test_what_has_expired_no_longer_counts(processors, work, redis):
    processors("ARCHITECT", lambda context: "r" * (30 * KIB))

    def is_whole() -> bool:
        task = submit()
        work("architect")
        return isinstance(result_of(redis, task), str)

    assert is_whole()
    first, last = queue_manager.get_organization_tasks("acme")[-1], is_whole()
    assert last is False

    wait_until(is_whole, 10)

    # Not before the first one had gone.
    assert not redis.exists(f"plugspace:result:{first.pk}:ARCHITECT")


@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB})
@pytest.mark.parametrize("damage", ["text", "words", "future"])
def test_a_count_that_cannot_be_read_begins_anew(processors, work, redis, damage):
    account = "plugspace:org:acme:written"
    if damage == "text":
        redis.set(account, "x")
    else:
        redis.hset(account, mapping={"sum": "many", "at": "9" * 15, "3": "x"})
    if damage == "future":
        redis.hset(account, "sum", 5)
    processors("ARCHITECT", lambda context: "r" * (30 * KIB))
    tasks = [submit() for _ in range(4)]

    work("architect")

    assert sum(isinstance(result_of(redis, task), str) for task in tasks) == 3
    assert redis.ttl(account) > 0


@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB})
@pytest.mark.parametrize("strange", ["nan", "-nan", "inf", "many", "-5", "1e999", "", "0x10"])
def test_a_sum_that_is_no_count_is_added_up_from_its_buckets(processors, work, redis, strange):
    account = "plugspace:org:acme:written"
    processors("ARCHITECT", lambda context: "r" * (30 * KIB))
    before = [submit() for _ in range(2)]
    work("architect")
    assert all(isinstance(result_of(redis, task), str) for task in before)
    redis.hset(account, "sum", strange)

    after = [submit() for _ in range(3)]
    work("architect")

    assert sum(isinstance(result_of(redis, task), str) for task in after) == 1
    assert 90 * KIB < int(redis.hget(account, "sum")) <= 100 * KIB


@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB})
def test_buckets_that_are_no_counts_hold_nothing(processors, work, redis):
    account = "plugspace:org:acme:written"
    processors("ARCHITECT", lambda context: "r" * (30 * KIB))
    first = submit(input={"prompt": "p" * 2000})
    redis.hset(account, mapping=dict.fromkeys(["sum", *map(str, range(24))], "nan"))

    tasks = [first, *(submit() for _ in range(4))]
    work("architect")

    assert sum(isinstance(result_of(redis, task), str) for task in tasks) == 3
    assert 90 * KIB < int(redis.hget(account, "sum")) <= 100 * KIB


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB})
def test_inputs_fill_no_more_than_the_budget_whoever_writes_the_copies(processors, work, redis):
    prompt = "p" * 18_000
    tasks = [submit(input={"prompt": prompt}) for _ in range(20)]
    tasks += queue_manager.add_tasks(
        [
            {
                "type": "ARCHITECT",
                "project_id": "p1",
                "user_id": "u1",
                "organization_id": "acme",
                "input": {"prompt": prompt},
            }
        ]
        * 20
    )
    core = 1500 * len(tasks)

    whole = [task for task in tasks if "inputOmitted" not in copy_of(redis, task)]
    assert len(whole) == 5
    assert bytes_under(redis, "plugspace:task:*") < 100 * KIB + core
    assert rest(tasks[-1])["input"]["prompt"] == prompt

    # Written again, what is there costs nothing, and what is not there finds no room.
    for task in tasks:
        if task not in whole:
            redis.delete(f"plugspace:task:{task.pk}")
    # The reconciler looks twice, a lease apart. The worker below keeps the lease of the default: on
    # a busy machine a short one runs out, and the task is taken back and runs again.
    with override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB, "LEASE": 0.2}):
        assert "snapshot_missing" in kinds_found()
        assert reconcile("--fix")[0] == 0
    assert [task for task in tasks if "inputOmitted" not in copy_of(redis, task)] == whole

    processors("ARCHITECT", lambda context: {"said": "done"})
    work("architect")
    assert [task for task in tasks if "inputOmitted" not in copy_of(redis, task)] == whole
    assert {copy_of(redis, task)["state"] for task in tasks} == {"complete"}


@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 100 * KIB})
def test_steps_that_are_cancelled_or_blocked_count_in_the_budget_as_well(redis):
    for _ in range(10):
        queue_manager.add_workflow(
            "p1", "u1", "acme", {"prompt": "p" * 18_000}, limit_requests=False
        )
    for task in Task.objects.filter(type="ARCHITECT"):
        queue_manager.cancel(task.pk)

    assert bytes_under(redis, "plugspace:task:*") < 100 * KIB + 1500 * Task.objects.count()


@override_settings(PLUGSPACE_QUEUE={"PAYLOAD_BUDGET": 30 * KIB})
def test_what_a_task_brings_counts_once_however_often_its_copy_is_written(processors, work, redis):
    def architect(context):
        context.report_progress(50)
        return "r" * 700

    processors("ARCHITECT", architect)
    tasks = [submit(input={"prompt": "p" * 2000}) for _ in range(10)]

    work("architect")

    assert not any("inputOmitted" in copy_of(redis, task) for task in tasks)
    assert {copy_of(redis, task)["result"] for task in tasks} == {"r" * 700}
    assert 27_000 < int(redis.hget("plugspace:org:acme:written", "sum")) < 30 * KIB


def test_a_heavy_copy_of_what_ended_stays_as_long_as_a_result(processors, work, redis):
    processors("ARCHITECT", lambda context: "r" * len(context.input.prompt))
    heavy, light = submit(input={"prompt": "p" * 2000}), submit()

    work("architect")

    assert 0 < redis.ttl(f"plugspace:task:{heavy.pk}") <= 86_400
    assert redis.ttl(f"plugspace:task:{light.pk}") > 29 * 86_400


@override_settings(PLUGSPACE_QUEUE={"RESULT_TTL": 0})
def test_nothing_of_a_result_stays_without_a_time_to_live(processors, work, redis):
    processors("ARCHITECT", lambda context: {"said": "x"})
    task = submit()

    work("architect")

    assert fresh(task).state == "complete"
    assert not redis.exists(f"plugspace:result:{task.pk}:ARCHITECT")


@override_settings(PLUGSPACE_QUEUE={"EXPORT_BUDGET": 100 * KIB})
def test_exports_of_an_organization_are_refused_above_its_budget(redis):
    exports.put("e1", b"x" * 60 * KIB, filename="a.zip", organization_id="acme")
    with pytest.raises(errors.PayloadTooLarge, match="EXPORT_BUDGET"):
        exports.put("e2", b"x" * 60 * KIB, filename="a.zip", organization_id="acme")
    exports.put("e3", b"x" * 60 * KIB, filename="a.zip", organization_id="bolt")

    assert exports.get("e2") is None
    assert exports.get("e3", "bolt") is not None
    assert 0 < redis.ttl("plugspace:org:acme:exports") <= 3600 + 150


@override_settings(PLUGSPACE_QUEUE={"EXPORT_BUDGET": 100 * KIB, "EXPORT_TTL": 24})
@pytest.mark.slow
def test_an_export_that_has_expired_gives_room_to_another(redis):
    def has_room(export_id: str) -> bool:
        try:
            exports.put(export_id, b"x" * 60 * KIB, filename="a.zip", organization_id="acme", ttl=1)
        except errors.PayloadTooLarge:
            return False
        return True

    assert has_room("e1")
    assert not has_room("e2")
    wait_until(lambda: has_room("e3"), 10)
    assert exports.get("e1") is None
