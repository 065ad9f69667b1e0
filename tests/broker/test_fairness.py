"""One round: a lane's first task starts after at most one of each other lane; shares are equal."""

import itertools
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugspace_queue.broker import scripts, task_store
from plugspace_queue.broker.types import Entry
from tests.broker.tools import QUEUE, Line, entry

STEPS = st.lists(st.one_of(st.just("take"), st.sampled_from("abcd")), min_size=5, max_size=60)


def fill(line: Line, entries: Iterable[Entry]) -> None:
    """Put any number of tasks into their lines."""
    scripts.run(line.redis, task_store.submit_all(QUEUE, list(entries)))


def jain(shares: Iterable[float]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one has all."""
    values = list(shares)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


@given(steps=STEPS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_lane_has_two_turns_while_another_waits_for_its_first(
    line: Line, steps: list[str]
) -> None:
    line.redis.flushall()
    waiting: dict[str, dict[str, int]] = {}
    lengths = dict.fromkeys("abcd", 0)
    for number, step in enumerate(steps):
        if step != "take":
            line.put([entry(f"{step}{number}", step)])
            if not lengths[step]:
                waiting[step] = {}
            lengths[step] += 1
            continue
        for task_id in line.take():
            served = task_id[0]
            lengths[served] -= 1
            waiting.pop(served, None)
            for others in waiting.values():
                others[served] = others.get(served, 0) + 1
                assert others[served] == 1, steps


@pytest.mark.parametrize("want", [1, 7, 16])
def test_twenty_organizations_get_equal_shares_whatever_they_have_in_line(
    line: Line, want: int
) -> None:
    # The first has 60 tasks, the last 1,010.
    for number in range(20):
        count = 60 + 50 * number
        fill(line, [entry(f"o{number:02}-{n}", f"o{number:02}") for n in range(count)])

    served = Counter[str]()
    while served.total() < 1000:
        served.update(task_id[:3] for task_id in line.take(min(want, 1000 - served.total())))

    print(f"calls of {want}: {min(served.values())} to {max(served.values())} of 50 each")
    assert len(served) == 20
    assert jain(served.values()) >= 0.99
    assert max(served.values()) - min(served.values()) <= 1


def test_a_single_task_behind_floods_is_served_within_one_round(line: Line) -> None:
    for flood in range(5):
        fill(line, [entry(f"flood{flood}-{n}", f"flood{flood}") for n in range(2000)])
    for _ in range(20):
        line.take(16)

    line.submit("single", organization_id="zz-last-by-name")

    assert "single" in line.take(6)


def test_weights_are_the_turns_of_an_organization_and_nobody_starves(line: Line) -> None:
    line.configure(weighted=True)
    # Two organizations with enterprise, one with pro, one with starter, three with free.
    crowd = {"e1": 0, "e2": 0, "p1": 1, "s1": 2, "f1": 3, "f2": 3, "f3": 3}
    for name, band in crowd.items():
        fill(line, [entry(f"{name}-{n}", name, band) for n in range(900)])

    served = Counter[str]()
    rounds: list[set[str]] = []
    for _ in range(100):
        # 8 + 8 + 4 + 2 + 1 + 1 + 1: what all get while free organizations have one turn each.
        turn = line.take(12) + line.take(13)
        rounds.append({task_id[:2] for task_id in turn})
        served.update(task_id[:2] for task_id in turn)

    print(f"turns in 2,500: {dict(sorted(served.items()))}")
    assert all(abs(served[name] - 100 * (8, 4, 2, 1)[band]) <= 1 for name, band in crowd.items())
    assert all(one == set(crowd) for one in rounds)


def test_the_lowest_band_is_served_beside_a_flood_of_the_highest_only_by_weights(
    line: Line,
) -> None:
    for number in range(20):
        fill(line, [entry(f"top{number}-{n}", f"top{number}", 0) for n in range(100)])
    line.submit(*[f"low{n}" for n in range(10)], organization_id="low", band=3)

    strict = [task_id for _ in range(20) for task_id in line.take(16)]
    line.configure(weighted=True)
    weighted = [task_id for _ in range(20) for task_id in line.take(16)]

    assert not any(task_id.startswith("low") for task_id in strict)
    # The cost of one low task is eight of each of the twenty: 160 lie between two of them.
    places = [place for place, task_id in enumerate(weighted) if task_id.startswith("low")]
    print(f"places of the lowest band by weights: {places}")
    assert len(places) >= 2
    assert places[0] <= 20
    assert all(later - earlier <= 181 for earlier, later in itertools.pairwise(places))
