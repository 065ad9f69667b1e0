"""The benchmarks run end to end on servers of their own, and what they write keeps its shape."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import chart, results, running, sizes, table
from benchmarks.measures import MEASURES, RQ, Measure
from benchmarks.records import TooSlow
from benchmarks.results import Row
from benchmarks.trial import Trial

ROOT = Path(__file__).parents[2]
KEYS = {field.name for field in fields(Row)}
SVG = "{http://www.w3.org/2000/svg}"


def measure(*arguments: str, into: Path) -> tuple[str, dict[str, Any]]:
    """Run the benchmarks; the table and the JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--into", str(into)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((into / "latest.json").read_text())


def rows() -> list[Row]:
    """Three rows of two measures."""
    ours = results.row("ours, SQLite", "1", "drain", "tasks/s", [900.0, 1000.0, 1300.0])
    peer = results.row("a <peer>", "2", "drain", "tasks/s", [250.0])
    slow = results.row("ours, SQLite", "1", "pickup", "ms", [-0.1, 2.0, 3.0])
    return [replace(ours, ratio_ours=1.0), replace(peer, ratio_ours=4.0), slow]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_smallest_run_measures_a_real_worker_beside_rq(tmp_path: Path):
    words = ("--system", "SQLite, threads", "--system", "SQLite, all gates", "--system", "RQ")
    keys = ("drain", "pickup", "bulk")
    only = [word for key in keys for word in ("--only", key)]

    told, written = measure("--smoke", *only, *words, into=tmp_path)

    assert [(row["measure"], row["system"]) for row in written["rows"]] == [
        (figure, system)
        for entry in MEASURES
        if entry.key in keys
        for figure in entry.figures
        for system in (
            f"plugspace_queue, SQLite, {'all gates' if entry.key == 'bulk' else 'threads'}",
            "RQ SimpleWorker",
        )
    ]
    assert all(set(row) == KEYS for row in written["rows"])
    assert all(row["median"] > 0 and row["runs"] == 1 for row in written["rows"])
    assert all(row["ratio_ours"] for row in written["rows"])
    assert written["machine"]["cores"] and written["machine"]["load_before"]
    assert "drain of no-op tasks (tasks/s, more is better)" in told
    assert (tmp_path / "benchmarks.svg").exists()


def test_published_figures_are_those_of_the_measures_of_today():
    written = json.loads((ROOT / "benchmarks" / "latest.json").read_text())
    known = {
        (figure, unit, system.name)
        for entry in MEASURES
        for figure, unit in entry.figures.items()
        for system in entry.systems
    }

    found = {(row["measure"], row["unit"], row["system"]) for row in written["rows"]}

    assert found == known
    assert all(set(row) == KEYS for row in written["rows"])


def test_a_measurement_that_fails_is_told_and_stops_no_other():
    def fails_once(trial: Trial) -> dict[str, float]:
        runs.append(trial)
        if len(runs) == 1:
            raise TooSlow("no task ended")
        return {"a figure": 7.0}

    runs: list[Trial] = []
    twice = replace(sizes.SMOKE, runs=2)
    measure = Measure(key="odd", figures={"a figure": "s"}, systems=(RQ,), run=fails_once)

    found, failed = running.run([measure], twice)

    assert failed == ["odd, RQ SimpleWorker, run 1"]
    assert [(row.median, row.runs) for row in found] == [(7.0, 1)]


def test_the_ratio_is_ours_over_theirs():
    ours, peer, _ = rows()

    assert results.ratio(ours, peer) == 4.0
    assert results.ratio(None, peer) is None


def test_the_chart_has_a_bar_per_row_and_tells_ours_from_theirs():
    drawn = ElementTree.fromstring(chart.svg(rows(), {"ours, SQLite"}))

    bars = drawn.findall(f"{SVG}rect")
    assert [bar.get("class") for bar in bars] == ["ours", "peer", "ours"]
    assert float(bars[0].get("width", "")) == pytest.approx(
        4 * float(bars[1].get("width", "")), rel=0.01
    )
    assert all(float(bar.get("width", "")) >= 0 for bar in bars)


def test_the_table_says_which_way_is_better():
    told = list(table.lines(rows()))

    assert told[0] == "drain (tasks/s, more is better)"
    assert told[2].startswith("  a <peer>") and told[2].endswith("ours/this 4.00")
    assert "pickup (ms, less is better)" in told
