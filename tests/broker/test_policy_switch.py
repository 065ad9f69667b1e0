"""The policy of a queue is switched while 2,000 lanes wait: the order holds, nothing is lost."""

import itertools
from typing import Any

import pytest

from plugspace_queue.broker import scripts, task_store
from tests.broker.model import Gates, Model
from tests.broker.tools import QUEUE, Line, entry

ORGANIZATIONS = 500
LANES = 4 * ORGANIZATIONS
LONGEST_MS = 25
"""Of the quickest switch: a machine with others on it makes any single one slow."""


@pytest.fixture
def crowd(line: Line) -> Model:
    """Two tasks in each lane, a part of the first round served, and the model of it."""
    model = Model()
    for turn in range(2):
        tasks = [
            (f"{band}-{number}-{turn}", (band, f"o{number}"))
            for number in range(ORGANIZATIONS)
            for band in range(4)
        ]
        entries = [entry(task_id, lane[1], lane[0]) for task_id, lane in tasks]
        scripts.run(line.redis, task_store.submit_all(QUEUE, entries))
        for task_id, lane in tasks:
            model.put(task_id, lane)
    line.configure(organization_cap=100)
    model.configure(Gates(organization_cap=100))
    return model


def serve(line: Line, model: Model, calls: int) -> list[str]:
    """So many calls of sixteen, each as the model says."""
    served: list[str] = []
    for _ in range(calls):
        expected = model.take(16)
        assert line.take(16) == expected
        served += expected
    return served


def switch(line: Line, model: Model, **gates: Any) -> float:
    """Change the gates; how long the longest script took, in ms of the server."""
    line.redis.config_set("slowlog-log-slower-than", 0)
    line.redis.slowlog_reset()
    line.configure(**gates)
    calls = [one for one in line.redis.slowlog_get(64) if b"EVALSHA" in one["command"].upper()]
    line.redis.config_set("slowlog-log-slower-than", 10_000)
    model.configure(Gates(**gates))
    return max(one["duration"] for one in calls) / 1000


@pytest.mark.slow
def test_the_order_right_after_a_switch_is_that_of_the_new_policy(line: Line, crowd: Model) -> None:
    served = serve(line, crowd, 5)
    assert {task_id[0] for task_id in served} == {"0"}
    line.pause_organization("o7")
    crowd.pause("o7", paused=True)
    longest = []

    for weighted in (True, False, True, False):
        longest.append(switch(line, crowd, weighted=weighted, organization_cap=100))
        # Every lane has its first turn before any has its second: that is 500 turns of a band.
        now = serve(line, crowd, 35 if weighted else 5)
        assert ({task_id[0] for task_id in now} == {"0"}) is not weighted
        served += now

    line.check()
    assert len(line.waits()) == 2 * LANES - len(served)
    line.pause_organization("o7", False)
    crowd.pause("o7", paused=False)
    for rest in itertools.takewhile(bool, (line.take(16) for _ in range(2 * LANES))):
        served += rest
    assert len(served) == len(set(served)) == 2 * LANES
    print(f"the calls of switches at {LANES} lanes, ms of the server: {longest}")
    assert min(longest) < LONGEST_MS
