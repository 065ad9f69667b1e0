"""How many tasks a worker asks for at once."""

import pytest
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from plugspace_queue.broker import keys
from plugspace_queue.broker.task_store import MOST_ENTRIES, Note
from plugspace_queue.maintenance import queue_config
from plugspace_queue.worker.fetcher import LONGEST_WAIT, QueueSlots
from plugspace_queue.worker.state import Announce
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


def test_it_asks_for_nothing_while_twice_its_slots_wait_for_the_database():
    assert QueueSlots("architect", slots=50, held=40).asks(NOW, MANY) == [48, 2]
    assert QueueSlots("architect", slots=50, held=90).asks(NOW, MANY) == [10]
    assert QueueSlots("architect", slots=50, held=100).asks(NOW, MANY) == []


@pytest.mark.usefixtures("acme")
def test_a_woken_worker_asks_once_and_for_all_its_slots_after_a_full_answer(processors):
    processors("ARCHITECT", lambda context: {}, concurrency=150)
    queue_config.repair(timezone.now())
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


@pytest.fixture
def fetcher(processors):
    """One that takes nothing and has nothing to send but what a test gives it."""
    processors("ARCHITECT", lambda context: {})
    queue_config.repair(timezone.now())
    fetcher = make_crew("architect").fetcher
    fetcher.is_stopping = True
    return fetcher


def progress(task_id, number):
    event = f'{{"{task_id}":{number}}}'
    return Note(task_id, event=event, is_bound=True)


def sent_by(fetcher, redis):
    """The events that each round trip has told, until nothing is left to send."""
    told = []
    while fetcher.wait_seconds() == 0.0:
        before = redis.xlen(keys.events())
        fetcher.exchange()
        told.append([one[b"event"].decode() for _, one in redis.xrange(keys.events())][before:])
    return told


@pytest.mark.usefixtures("acme")
def test_while_redis_is_away_only_the_newest_progress_of_each_task_is_kept(
    fetcher, redis, monkeypatch
):
    def refuse(calls):
        raise RedisConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(fetcher._connection, "run_each", refuse)
        for number in range(50):
            fetcher.send([Announce("architect", [progress("a", number), progress("b", number)])])
            fetcher.send([Announce("architect", [Note("c", event=str(number))])])
            fetcher._paused_until = 0.0
            assert fetcher.exchange() == []

    assert len(fetcher.queues["architect"].notes) == 52
    redis.hset(keys.own("architect"), mapping=dict.fromkeys("ab", "1|2:acme|w1|e"))
    fetcher._pause = fetcher._paused_until = 0.0
    others = [str(number) for number in range(50)]
    assert sent_by(fetcher, redis) == [[*others[:49], '{"a":49}', '{"b":49}', others[49]]]


@pytest.mark.usefixtures("acme")
def test_one_round_trip_tells_so_many_notes_at_most_and_in_their_order(fetcher, redis):
    numbers = [str(number) for number in range(2 * MOST_ENTRIES + 1)]
    fetcher.send([Announce("architect", [Note("a", event=one) for one in numbers])])

    told = sent_by(fetcher, redis)

    assert [len(one) for one in told] == [MOST_ENTRIES, MOST_ENTRIES, 1]
    assert [*told[0], *told[1], *told[2]] == numbers


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
        return fetcher.wait_seconds() == LONGEST_WAIT

    wait_until(waits_long)
    # A burst still knows how long it could do nothing.
    assert fetcher.outage_seconds() > 0
    monkeypatch.undo()
    fetcher.is_stopping = False
    fetcher.exchange()
    assert fetcher.outage_seconds() == 0
