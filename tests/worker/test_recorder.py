"""The recorder goes on when Redis is away: what it could not publish, the relay will."""

import time
from collections.abc import Iterator

import pytest

from plugspace_queue.engine.store import Lease
from plugspace_queue.models import Task
from plugspace_queue.processing.outcome import success
from plugspace_queue.worker.messages import Ended, Guard
from plugspace_queue.worker.recorder import Recorder
from plugspace_queue.worker.table import Held
from tests.front_door.conftest import redis_away
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

__all__ = ["redis_away"]

pytestmark = pytest.mark.usefixtures("acme")


class Silent:
    """Takes progress and keeps none of it."""

    def progress(self, run: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder(
        "w1",
        tell=lambda message: None,
        dispatch=lambda held, run: None,
        sink=Silent(),
        timeout_of=lambda task: 60.0,
    )
    made.start()
    yield made
    made.stop()
    made.join(timeout=5)
    assert not made.is_alive()


def test_a_step_released_while_redis_is_away_waits_for_the_relay(recorder, redis_away):
    parent = submit()
    child = submit("DESIGN", depends_on=[parent])
    held = start(recorder, parent)

    redis_away()
    recorder.put(Ended(held, held.run, success({})))

    wait_until(lambda: fresh(child).state == "waiting")
    other = start(recorder, submit())
    assert other.run.task.state == "processing"


def start(recorder: Recorder, task: Task) -> Held:
    """Have the guard start a task as if it had just been acquired."""
    lease = Lease(str(task.pk), time.time_ns() // 1000, "execution", "acme", 2)
    held = Held("architect", lease)
    recorder.put(Guard([held]))
    wait_until(lambda: held.run)
    return held
