"""How many tasks a worker asks for at once."""

import pytest

from plugspace_queue.worker.desk import Desk
from tests.worker.conftest import make_crew, submit

NOW, MANY = 1.0, 1000


def test_an_idle_worker_asks_once_and_for_all_its_slots_when_the_answer_was_full():
    desk = Desk("architect", slots=50)
    assert desk.asks(NOW, MANY) == [16]

    desk.is_deep = True
    assert desk.asks(NOW, MANY) == [16, 16, 16, 2]


def test_it_asks_for_no_more_than_it_may_still_take():
    assert Desk("architect", slots=50, is_deep=True).asks(NOW, 20) == [16, 4]
    assert Desk("architect", slots=50).asks(NOW, 3) == [3]


def test_it_asks_for_nothing_when_nothing_is_in_line_or_no_slot_is_free():
    assert Desk("architect", slots=50, is_ready=False).asks(NOW, MANY) == []
    assert Desk("architect", slots=2, busy=2).asks(NOW, MANY) == []


@pytest.mark.usefixtures("acme")
def test_a_worker_of_two_queues_takes_no_more_than_its_max_jobs(processors):
    for kind in ("ARCHITECT", "CODE"):
        processors(kind, lambda context: {})
        for _ in range(3):
            submit(kind)

    assert make_crew("architect", "code", max_jobs=2).work() == 2
