"""How many tasks a worker asks for at once."""

import pytest
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from plugspace_queue.maintenance import queue_config
from plugspace_queue.worker.fetcher import LONGEST_WAIT, QueueSlots
from tests.support import wait_until
from tests.worker.conftest import make_crew, submit

NOW, MANY = 1.0, 1000


def test_it_asks_for_all_free_slots_where_the_line_may_be_deep_and_else_once():
    assert QueueSlots("architect", slots=50).asks(NOW, MANY) == [48, 2]
    assert QueueSlots("architect", slots=50, is_deep=False).asks(NOW, MANY) == [48]


def test_it_asks_for_no_more_than_it_may_still_take():
    assert QueueSlots("architect", slots=50).asks(NOW, 20) == [20]
    assert QueueSlots("architect", slots=50, is_deep=False).asks(NOW, 3) == [3]


def test_it_asks_for_nothing_when_nothing_is_in_line_or_no_slot_is_free():
    assert QueueSlots("architect", slots=50, is_ready=False).asks(NOW, MANY) == []
    assert QueueSlots("architect", slots=2, busy=2).asks(NOW, MANY) == []


@pytest.mark.usefixtures("acme")
def test_a_woken_worker_asks_once_and_for_all_its_slots_after_a_full_answer(processors):
    processors("ARCHITECT", lambda context: {}, concurrency=150)
    queue_config.mend(timezone.now())
    fetcher = make_crew("architect").fetcher
    run, asked = fetcher._connection.run_each, []
    fetcher._connection.run_each = lambda calls: asked.append(len(calls)) or run(calls)

    def wake():
        fetcher.queues["architect"].is_ready = True
        fetcher.exchange()

    fetcher.exchange()
    submit()
    wake()
    for _ in range(60):
        submit()
    wake()
    fetcher.exchange()
    submit()
    wake()

    # All slots as it starts; one; 48 of sixty; 101 slots are free then; one.
    assert asked == [4, 1, 1, 3, 1]
    assert len(fetcher._table.all()) == 62


@pytest.mark.usefixtures("acme")
def test_a_worker_of_two_queues_takes_no_more_than_its_max_jobs(processors):
    for kind in ("ARCHITECT", "CODE"):
        processors(kind, lambda context: {})
        for _ in range(3):
            submit(kind)

    assert make_crew("architect", "code", max_jobs=2).work() == 2


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("burst", [False, True])
@pytest.mark.parametrize("kind", ["ARCHITECT", "CODE"])
def test_a_queue_without_tasks_keeps_none_of_max_jobs_from_the_other(processors, kind, burst):
    for one in ("ARCHITECT", "CODE"):
        processors(one, lambda context: {})
    for _ in range(3):
        submit(kind)

    assert make_crew("architect", "code", max_jobs=2, burst=burst).work() == 2


@pytest.mark.usefixtures("acme")
def test_a_worker_with_nothing_to_send_sleeps_after_an_error_of_redis(processors, monkeypatch):
    processors("ARCHITECT", lambda context: {})
    fetcher = make_crew("architect").fetcher

    def fail(calls):
        raise RedisConnectionError("the server is away")

    monkeypatch.setattr(fetcher._connection, "run_each", fail)
    fetcher.exchange()
    # As a worker that drains: it asks for nothing more.
    fetcher.is_stopping = True

    def waits_long() -> bool:
        fetcher.exchange()
        return fetcher.patience() == LONGEST_WAIT

    wait_until(waits_long)
    # A burst still knows how long it could do nothing.
    assert fetcher.stands_for() > 0
    monkeypatch.undo()
    fetcher.is_stopping = False
    fetcher.exchange()
    assert fetcher.stands_for() == 0
