"""A timeout and a cancel in a thread, on the event loop and in a process of its own.

What listens is told at once; what does not listen is stopped hard, and its slot comes back.
"""

import time

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.models import Task
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

HARD_STOP = 2.0
"""As tests/processes/telling.py has it."""


def in_thread(step: str) -> Task:
    return submit("ARCHITECT", input={"prompt": step}, max_retries=0)


def on_loop(step: str) -> Task:
    return submit("DESIGN", input={"context": {"mood": step}}, max_retries=0)


def alone(step: str) -> Task:
    return submit("ANALYZE", input={"url": f"https://example.com/{step}"}, max_retries=0)


WAYS = {"thread": in_thread, "loop": on_loop, "process": alone}
CANCELLED, TIMEOUT = ("cancelled", "CANCELLED"), ("failed", "TIMEOUT")


def said(row: Task) -> tuple[str, str | None]:
    return row.state, (row.error or {}).get("code")


@pytest.fixture
def worker(rqworker):
    return rqworker("architect", "design", "analyze", settings="tests.processes.telling")


def until_begun(task: Task) -> None:
    """Its first line has run."""
    wait_until(lambda: fresh(task).progress, 20, f"{task} did not begin")


@pytest.mark.parametrize("way", WAYS)
def test_a_cancel_stops_what_listens_at_once_and_what_does_not_after_the_hard_stop(
    worker, until_final, way
):
    polite, deaf = WAYS[way]("listen"), WAYS[way]("wait")
    for task in (polite, deaf):
        until_begun(task)

    told_at = time.monotonic()
    for task in (polite, deaf):
        queue_manager.cancel(task.pk)

    assert said(until_final(polite)) == CANCELLED
    assert time.monotonic() - told_at < HARD_STOP
    assert said(until_final(deaf)) == CANCELLED
    assert HARD_STOP <= time.monotonic() - told_at < HARD_STOP + 5
    # Both slots take work again, in the same process.
    assert {said(until_final(WAYS[way]("ok"))) for _ in range(3)} == {("complete", None)}
    assert worker.poll() is None


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_stops_what_listens_at_once_and_what_does_not_after_the_hard_stop(
    worker, until_final, way
):
    tasks = [WAYS[way](step) for step in ("listen", "wait")]

    polite, deaf = (until_final(task, 30) for task in tasks)

    assert (said(polite), said(deaf)) == (TIMEOUT, TIMEOUT)
    seconds = [row.duration / 1000 for row in (polite, deaf)]
    # Their timeout is 6 s.
    assert 6 <= seconds[0] < 6 + HARD_STOP <= seconds[1] < 6 + HARD_STOP + 5
    assert said(until_final(WAYS[way]("ok"))) == ("complete", None)
    assert worker.poll() is None
