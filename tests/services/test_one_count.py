"""Many that ask for one organization's figures at once: its rows are counted once for all."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import OperationalError, connections

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.services import organization_stats
from tests.factories import make_organization, make_task
from tests.support import patient, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ASKING = 50
NEVER, ALWAYS = -1.0, 3600.0


class Gate:
    """Holds every count until it is opened; `counts` says how many have begun."""

    def __init__(self) -> None:
        self.counts = 0
        self.error: Exception | None = None
        self.opened = threading.Event()
        self._count = organization_stats._counted

    def counted(self, organization_id: str) -> organization_stats.Counts:
        self.counts += 1
        assert self.opened.wait(patient(30))
        if self.error is not None:
            raise self.error
        return self._count(organization_id)


@pytest.fixture
def gate(redis: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    organization_stats.clear_cache()
    make_task(organization=make_organization("acme"), state=State.COMPLETE, type="CODE")
    made = Gate()
    monkeypatch.setattr(organization_stats, "_counted", made.counted)
    yield made
    made.opened.set()
    organization_stats.clear_cache()


@pytest.fixture
def threads(gate: Gate) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(ASKING) as made:
        yield made
        gate.opened.set()


def completed(organization_id: str = "acme") -> int | None:
    """What a request is told of the organization's queue for code."""
    try:
        [row] = organization_stats.own_stats(organization_id, [TaskType.CODE])
        return row.completed
    finally:
        connections.close_all()


def first(threads: ThreadPoolExecutor, gate: Gate) -> "Future[int | None]":
    """A request that is counting."""
    before = gate.counts
    counting = threads.submit(completed)
    wait_until(lambda: gate.counts > before)
    return counting


def test_50_that_ask_at_once_have_one_count_made(
    gate: Gate, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    # Whoever comes when the count is made already takes it, however slow the machine is.
    monkeypatch.setattr(organization_stats, "FRESH_FOR", ALWAYS)
    together = threading.Barrier(ASKING)

    def ask() -> int | None:
        together.wait(patient(30))
        return completed()

    asking = [threads.submit(ask) for _ in range(ASKING)]
    wait_until(lambda: gate.counts)
    gate.opened.set()

    assert [each.result(patient(30)) for each in asking] == [1] * ASKING
    assert gate.counts == 1


def test_who_asks_while_a_count_is_made_gets_the_last_one(
    gate: Gate, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(organization_stats, "FRESH_FOR", NEVER)
    monkeypatch.setattr(organization_stats, "STALE_FOR", ALWAYS)
    gate.opened.set()
    assert completed() == 1
    gate.opened.clear()
    make_task(state=State.COMPLETE, type="CODE")

    counting = first(threads, gate)
    meanwhile = completed()
    gate.opened.set()

    assert (meanwhile, counting.result(patient(30)), gate.counts) == (1, 2, 2)


def test_an_organization_is_not_kept_waiting_by_the_count_of_another(
    gate: Gate, threads: ThreadPoolExecutor
):
    make_organization("rival")

    first(threads, gate)
    other = threads.submit(completed, "rival")

    wait_until(lambda: gate.counts == 2)
    gate.opened.set()
    assert other.result(patient(30)) == 0


def test_who_waits_too_long_is_told_to_come_again(
    gate: Gate, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(organization_stats, "LONGEST_WAIT", 0.01)

    counting = first(threads, gate)
    with pytest.raises(Unavailable):
        completed()
    gate.opened.set()

    assert (counting.result(patient(30)), completed(), gate.counts) == (1, 1, 1)


def test_a_count_that_fails_fails_for_those_who_waited_and_the_next_one_is_made(
    gate: Gate, threads: ThreadPoolExecutor
):
    gate.error = OperationalError("the server closed the connection")

    counting = first(threads, gate)
    waiting = threads.submit(completed)
    wait_until(lambda: waiting.running())
    gate.opened.set()

    assert isinstance(counting.exception(patient(30)), OperationalError)
    # It waited for the first count, or came later and made one that failed, too.
    assert isinstance(waiting.exception(patient(30)), Unavailable | OperationalError)
    gate.error = None
    assert completed() == 1
