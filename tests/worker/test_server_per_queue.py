"""A worker of a queue on a server of its own tells what happens where all listeners listen."""

from collections.abc import Callable
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.events import listeners
from tests.services.conftest import others
from tests.support import wait_until
from tests.worker.conftest import Register, submit

__all__ = ["others"]


def test_events_of_all_queues_are_in_one_stream(
    redis: Redis,
    others: Redis,
    settings: Any,
    processors: Register,
    crew: Callable[..., Any],
    until_final: Callable[..., Any],
):
    settings.PLUGSPACE_QUEUE = {}
    heard: list[dict[str, Any]] = []
    listeners.on("*", heard.append)

    def code(context: Any) -> Any:
        context.report_progress(50)
        wait_until(lambda: "taskProgress" in [event["name"] for event in heard], 10)
        return {"files": []}

    processors("CODE", code)
    crew("code")
    try:
        until_final(submit("CODE"))
        wait_until(lambda: len(heard) == 4, 10, str(heard))
    finally:
        listeners.close()

    names = ["taskAdded", "taskStarted", "taskProgress", "taskCompleted"]
    assert [event["name"] for event in heard] == names
    assert heard[-1]["result"] == {"files": []}
    assert not others.exists(keys.events())
    assert not redis.exists(keys.wait("code"))
