"""What listeners in this process hear of what happens in a worker's."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections

from plugspace_queue import embedded_redis, errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.events import listeners
from plugspace_queue.models import Task
from tests.processes.app.receivers import HEARD
from tests.support import wait_until
from tests.worker.conftest import submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

Payloads = list[dict[str, Any]]
Hear = Callable[..., Payloads]


def prompt(text: str, **arguments: Any) -> Task:
    return submit(input={"prompt": text}, **arguments)


@pytest.fixture
def hear(transactional_db: None, redis: Any) -> Iterator[Hear]:
    """Listen to events of a name; the list grows as they come."""

    def listen(name: str = "*", **options: Any) -> Payloads:
        heard: Payloads = []
        queue_manager.on(name, heard.append, **options)
        return heard

    yield listen
    queue_manager.close()


def names(heard: Payloads, task: Task) -> list[str]:
    return [event["name"] for event in heard if event["jobId"] == str(task.pk)]


def until_told(heard: Payloads, *wanted: str, timeout: float = 15.0) -> Payloads:
    """Wait until events of all these names have come."""
    wait_until(
        lambda: {event["name"] for event in heard} >= set(wanted),
        timeout,
        f"only {[event['name'] for event in heard]}",
    )
    return heard


def test_a_listener_here_hears_what_a_worker_completes_there(rqworker, hear):
    heard = hear("taskCompleted")
    rqworker("architect")

    task = prompt("pid")

    (event,) = until_told(heard, "taskCompleted")
    assert (event["type"], event["jobId"]) == ("ARCHITECT", str(task.pk))
    assert event["result"] == Task.objects.get(pk=task.pk).result
    assert (event["organizationId"], event["state"]) == ("acme", "complete")
    task = Task.objects.get(pk=task.pk)
    assert event["id"] and event["key"].startswith(f"{task.pk}:{task.fence}:taskCompleted:")


def test_a_task_is_added_started_reported_and_completed_in_this_order(rqworker, hear):
    heard = hear()
    rqworker("architect")

    tasks = [prompt("report") for _ in range(3)]

    wait_until(lambda: [event["name"] for event in heard].count("taskCompleted") == 3, 15)
    for task in tasks:
        assert names(heard, task) == ["taskAdded", "taskStarted", "taskProgress", "taskCompleted"]
    progress = next(event for event in heard if event["name"] == "taskProgress")
    assert progress["progress"] == {"percent": 50.0, "stage": "half"}
    cursors = [tuple(map(int, event["id"].split("-"))) for event in heard]
    assert cursors == sorted(cursors)
    keys = [event["key"] for event in heard]
    assert len(set(keys)) == len(keys)


def test_a_cursor_brings_back_what_came_after_it(rqworker, hear):
    heard = hear()
    rqworker("architect")
    first = prompt("pid")
    until_told(heard, "taskCompleted")
    cursor = heard[-1]["id"]

    second = prompt("pid")
    wait_until(lambda: "taskCompleted" in names(heard, second), 15)
    again, all_of_it = hear(since=cursor), hear("taskCompleted", since="0-0")

    wait_until(lambda: "taskCompleted" in names(again, second))
    assert names(again, first) == []
    assert [event["id"] for event in again] == [
        e["id"] for e in heard if e["jobId"] == str(second.pk)
    ]
    wait_until(lambda: len(all_of_it) == 2)
    assert [event["jobId"] for event in all_of_it] == [str(first.pk), str(second.pk)]
    with pytest.raises(ValueError, match="taskDone"):
        queue_manager.on("taskDone", print)


def test_a_listener_that_raises_is_counted_and_keeps_no_other_from_its_event(
    rqworker, hear, until_final, caplog
):
    def fall_over(event: dict[str, Any]) -> None:
        raise RuntimeError("a listener fell over")

    reader = listeners.on("taskCompleted", fall_over)
    heard = hear("taskCompleted")
    rqworker("architect")

    tasks = [prompt("pid"), prompt("pid")]

    wait_until(lambda: len(heard) == 2, 15)
    assert reader.errors == 2
    assert {until_final(task).state for task in tasks} == {"complete"}
    logged = [r for r in caplog.records if r.name == "plugspace_queue.events" and r.exc_info]
    assert {record.levelno for record in logged} == {logging.ERROR}
    assert {record.task_id for record in logged} == {str(task.pk) for task in tasks}


def test_signals_fire_in_the_process_that_settles_and_a_receiver_that_raises_changes_nothing(
    rqworker, redis, until_final
):
    worker = rqworker("architect")

    task = prompt("report")

    assert until_final(task).state == "complete"
    place = HEARD.format(task.pk)
    wait_until(lambda: redis.llen(place) >= 3)
    assert [entry.decode() for entry in redis.lrange(place, 0, -1)] == [
        f"{name} {worker.pid}" for name in ("taskStarted", "taskProgress", "taskCompleted")
    ]


def test_a_retry_is_told_between_two_starts(rqworker, hear):
    heard = hear()
    rqworker("architect")

    task = prompt("busy-once")

    until_told(heard, "taskCompleted", timeout=20)
    assert names(heard, task) == [
        "taskAdded",
        "taskStarted",
        "taskRetrying",
        "taskStarted",
        "taskCompleted",
    ]
    told = next(event for event in heard if event["name"] == "taskRetrying")
    assert (told["state"], told["error"]["code"]) == ("retrying", "EXTERNAL_SERVICE_ERROR")


def test_a_failure_is_told_with_its_code_and_without_its_stack(rqworker, hear):
    heard = hear("taskFailed")
    rqworker("architect")

    prompt("fail no such thing")

    (event,) = until_told(heard, "taskFailed")
    assert event["error"] == {
        "code": "VALIDATION_ERROR",
        "message": "no such thing",
        "retryable": False,
    }


@pytest.mark.parametrize("moment", ["waiting", "running"])
def test_a_cancelled_task_fires_task_failed_with_its_code_and_its_own_event(
    rqworker, hear, until_running, until_final, moment
):
    heard = hear()
    task = prompt("hold")
    if moment == "running":
        rqworker("architect")
        until_running(task)

    queue_manager.cancel(task.pk)

    until_told(heard, "taskFailed", "taskCancelled")
    codes = {e["name"]: e["error"]["code"] for e in heard if "error" in e}
    assert codes == {"taskFailed": "CANCELLED", "taskCancelled": "CANCELLED"}
    assert until_final(task).state == "cancelled"


def test_an_expired_task_fires_task_failed_with_its_code_and_its_own_event(rqworker, hear):
    heard = hear()
    prompt("pid", ttl=1)
    rqworker("design")

    until_told(heard, "taskFailed", "taskExpired")

    codes = {e["name"]: e["error"]["code"] for e in heard if "error" in e}
    assert codes == {"taskFailed": "EXPIRED", "taskExpired": "EXPIRED"}


def test_strange_entries_in_the_stream_are_passed_over(hear, redis):
    heard = hear()
    redis.xadd(keys.events(), {"word": "not ours"})
    redis.xadd(keys.events(), {"event": "not json"})
    redis.xadd(keys.events(), {"event": "[]"})

    task = prompt("pid")

    wait_until(lambda: heard)
    assert names(heard, task) == [event["name"] for event in heard] == ["taskAdded"]
    queue_manager.cancel(task.pk)


def failed_reads(redis: Any) -> int:
    # A server that nobody has read a stream from yet tells nothing of XREAD.
    told = redis.info("commandstats").get("cmdstat_xread", {"failed_calls": 0})
    return int(told["failed_calls"])


def test_a_listener_outlives_an_answer_that_makes_no_sense(hear, redis):
    before = failed_reads(redis)
    heard = hear()
    redis.set(keys.events(), "not a stream")
    wait_until(lambda: failed_reads(redis) > before)
    redis.delete(keys.events())

    task = prompt("pid")

    wait_until(lambda: names(heard, task) == ["taskAdded"])
    queue_manager.cancel(task.pk)


@pytest.mark.parametrize("cursor", ["yesterday", "", "1-2-3", "$"])
def test_a_cursor_that_is_none_is_refused(cursor):
    with pytest.raises(ValueError, match="cursor"):
        queue_manager.on("taskCompleted", print, since=cursor)


def test_a_listeners_database_connection_is_renewed_and_closed_with_it(hear):
    seen = []

    def look(event: dict[str, Any]) -> None:
        seen.append((Task.objects.count(), connection.connection))
        own.append(connections["default"])

    own: list[Any] = []
    queue_manager.on("taskAdded", look)
    tasks = [prompt("pid")]
    wait_until(lambda: len(seen) == 1)
    # As after a restart of the database: Django replaces what it finds too old.
    own[0].close_at = 0.0
    tasks.append(prompt("pid"))
    wait_until(lambda: len(seen) == 2)

    assert [count for count, _ in seen] == [1, 2]
    assert seen[0][1] is not seen[1][1]
    queue_manager.close()
    assert own[0].connection is None
    for task in tasks:
        queue_manager.cancel(task.pk)


def test_a_listener_goes_on_where_it_was_after_redis_was_away(hear):
    heard = hear("taskAdded")
    embedded_redis.stop()
    wait_until(answers)

    task = prompt("pid")

    wait_until(lambda: names(heard, task) == ["taskAdded"], 10)
    queue_manager.cancel(task.pk)


def answers() -> bool:
    """Whether Redis is back: whoever asks starts the embedded server again."""
    try:
        return bool(queue_manager.get_queue_stats())
    except errors.Unavailable:
        return False
