"""The gates of the performance budget: against whom each is held, and what it says."""

import re
from pathlib import Path

import pytest

from benchmarks import gates, measures, results
from benchmarks.gates import GATES, Outcome
from benchmarks.results import Row
from benchmarks.systems.base import System

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
SYSTEMS = {system.name: system for entry in measures.MEASURES for system in entry.systems}


def rows(figure: str, values: dict[System, float]) -> list[Row]:
    """A row for each system."""
    unit = gates.UNITS[figure]
    return [results.row(who.name, "1", figure, unit, [value]) for who, value in values.items()]


def judged(figure: str, values: dict[System, float]) -> list[Outcome]:
    """The outcomes of a figure's gates."""
    outcomes = gates.judge(rows(figure, values), SYSTEMS)
    return [outcome for outcome in outcomes if outcome.gate.figure == figure]


def test_a_rate_is_held_against_the_best_peer_of_each_kind():
    durable, light, node = judged(
        measures.DRAIN,
        {
            measures.SQLITE: 9000.0,
            measures.THREADS: 2000.0,
            measures.PROCRASTINATE: 300.0,
            measures.PORT_POSTGRES: 400.0,
            measures.NODE_POSTGRES: 9000.0,
            measures.DRAMATIQ: 1900.0,
            measures.RQ: 250.0,
            measures.NODE: 4000.0,
        },
    )

    assert (durable.word, durable.value) == (gates.HOLDS, 5.0)
    assert durable.beside == "BullMQ, Python, PostgreSQL"
    assert (light.word, light.beside) == (gates.FAILS, "Dramatiq, threads")
    assert light.value == pytest.approx(2000 / 1900)
    assert (node.word, node.value) == (gates.MISSED, 0.5)


@pytest.mark.parametrize(
    ("seconds", "word"), [(0.96, gates.FAILS), (0.95, gates.HOLDS), (0.86, gates.REACHED)]
)
def test_a_time_by_itself_must_be_at_most_the_limit(seconds: float, word: str):
    (outcome,) = judged(measures.SLEEPERS, {measures.THREADS: seconds, measures.HUEY: 9.0})

    assert (outcome.word, outcome.value, outcome.unit) == (word, seconds, "s")


def test_pickup_is_held_against_the_quickest():
    durable, best = judged(
        measures.PICKUP_HALF,
        {measures.THREADS: 5.0, measures.NODE_POSTGRES: 10.0, measures.HUEY: 1.0},
    )

    assert (durable.word, durable.value) == (gates.HOLDS, 0.5)
    assert (best.word, best.value, best.beside) == (gates.MISSED, 5.0, "Huey, threads")


def test_a_peer_that_starts_before_the_return_of_its_commit_is_not_beaten():
    durable, _ = judged(measures.PICKUP_HALF, {measures.THREADS: 5.0, measures.NODE_POSTGRES: -0.1})

    assert durable.word == gates.FAILS


def test_what_did_not_run_is_not_measured():
    only_ours = judged(measures.SINGLE, {measures.GATED: 900.0})
    only_sqlite = judged(measures.BULK, {measures.SQLITE_GATED: 9000.0})

    assert [outcome.word for outcome in only_ours + only_sqlite] == [gates.UNKNOWN] * 2


def test_each_gate_is_a_line_with_its_limit():
    told = list(gates.lines(gates.judge(rows(measures.BULK, {measures.GATED: 4000.0}), SYSTEMS)))

    assert len(told) == 1 + len(GATES)
    (line,) = [line for line in told if measures.BULK in line]
    assert re.fullmatch(r"  FAILS +4,000 tasks/s  >= 5000, aim 8000 +bulk submit, .*", line)


def test_the_page_lists_every_gate():
    table = PAGE.read_text(encoding="utf-8")

    for gate in GATES:
        assert f"| {gate.text} | {gate.limits} |" in table
