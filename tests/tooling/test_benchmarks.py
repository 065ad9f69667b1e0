"""The benchmarks run end to end on servers of their own, and what they write keeps its shape."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import (
    chart,
    choosing,
    environments,
    measures,
    processes,
    results,
    running,
    sizes,
    table,
)
from benchmarks.__main__ import main
from benchmarks.choosing import Wanted
from benchmarks.environments import KEPT, NodeEnvironment, PythonEnvironment, Unavailable
from benchmarks.measures import MEASURES, NODE, PEERS, PORT, PORT_POSTGRES, RQ, SQLITE, Measure
from benchmarks.records import TooSlow
from benchmarks.results import Row
from benchmarks.systems.peer import Peer
from benchmarks.systems.rq_simple import SimpleWorker
from benchmarks.trial import Trial

ROOT = Path(__file__).parents[2]
KEYS = {field.name for field in fields(Row)}
HAS_TASKSET = shutil.which("taskset") is not None
KINDS = {"ours, SQLite": chart.OURS, "a <peer>": chart.LIGHT}
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


def is_installed(peer: Peer) -> bool:
    """Whether an earlier `make bench` installed it, so that no test needs the network."""
    return (KEPT / peer.environment.name / ".ready").exists()


def odd(*systems: Any) -> Measure:
    """A measure of these systems that measures nothing."""
    return Measure(key="odd", figures={"a figure": "s"}, systems=systems, run=lambda trial: {})


def rows() -> list[Row]:
    """Three rows of two measures."""
    ours = results.row("ours, SQLite", "1", "drain", "tasks/s", [900.0, 1000.0, 1300.0])
    peer = results.row("a <peer>", "2", "drain", "tasks/s", [250.0])
    slow = results.row("ours, SQLite", "1", "pickup", "ms", [-0.1, 2.0, 3.0])
    return [replace(ours, ratio_ours=1.0), replace(peer, ratio_ours=4.0), slow]


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(240)
def test_the_smallest_run_measures_a_real_worker_beside_rq(tmp_path: Path):
    words = ("--system", "SQLite, threads", "--system", "SQLite, all gates", "--system", "RQ")
    keys = ("drain", *(["one-cpu"] if HAS_TASKSET else []), "pickup", "bulk")
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


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(240)
def test_a_run_may_have_fewer_or_more_rounds(tmp_path: Path):
    only = ("--only", "waiting", "--system", "RQ")

    _, written = measure("--smoke", "--rounds", "2", *only, into=tmp_path)

    assert [row["runs"] for row in written["rows"]] == [2]


@pytest.mark.parametrize("rounds", ["0", "-1", "many", "²"])
def test_a_number_of_rounds_that_is_none_is_refused(
    rounds: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        main(["--rounds", rounds])

    assert "is no number of rounds from 1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(240)
def test_delayed_tasks_are_timed_from_due_until_in_line(tmp_path: Path):
    _, written = measure("--smoke", "--only", "delayed", "--system", "SQLite", into=tmp_path)

    assert [row["measure"] for row in written["rows"]] == [measures.DUE_MOST, measures.BACKOFF_MOST]
    # Kept in whole milliseconds, a time may be a part of one before the moment that was meant.
    assert all(-1 < row["median"] < 10_000 for row in written["rows"])


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(240)
def test_peers_that_are_installed_drain_as_ours_do(tmp_path: Path):
    names = {peer.name for peer in PEERS if is_installed(peer)}
    if not names:
        pytest.skip("make bench installs them")
    words = [word for name in names for word in ("--system", name)]

    _, written = measure("--smoke", "--only", "drain", *words, into=tmp_path)

    assert names <= {row["system"] for row in written["rows"]}
    assert all(row["median"] > 0 and row["version"] for row in written["rows"])


@pytest.mark.skipif(not HAS_TASKSET, reason="taskset is on Linux only")
def test_a_worker_on_one_cpu_has_no_other():
    count = "import json, os; print(json.dumps({'cpus': len(os.sched_getaffinity(0))}))"

    assert processes.ask(processes.on_one_cpu([sys.executable, "-c", count]), {}) == {"cpus": 1}


def test_published_figures_are_those_of_the_measures_of_today():
    written = json.loads((ROOT / "benchmarks" / "latest.json").read_text())
    known = {
        (figure, unit, system.name)
        for entry in MEASURES
        for figure, unit in entry.figures.items()
        for system in entry.systems
    }
    # A peer may have been out of reach when they were published.
    needed = {entry for entry in known if entry[2] not in {system.name for system in PEERS}}

    found = {(row["measure"], row["unit"], row["system"]) for row in written["rows"]}

    assert needed <= found <= known
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


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(240)
def test_a_peer_that_cannot_be_installed_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environments, "KEPT", tmp_path)
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    nowhere = PythonEnvironment("nowhere", (str(tmp_path / "no-such-package"),))

    chosen, skipped = choosing.choose([odd(SQLITE, replace(PORT, environment=nowhere))], Wanted())

    assert [entry.systems for entry in chosen] == [(SQLITE,)]
    assert list(skipped) == ["BullMQ, Python"]
    assert skipped["BullMQ, Python"].startswith("it cannot be installed: ERROR: ")
    assert "no-such-package" in skipped["BullMQ, Python"]


def test_without_node_its_peer_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match="node is not here"):
        NodeEnvironment("any", ()).make()
    assert choosing.choose([odd(NODE)], Wanted()) == ([], {"BullMQ, Node": "node is not here"})


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(240)
def test_an_environment_is_made_again_only_when_its_wishes_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environments, "KEPT", tmp_path)
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    # Every new environment has pip already.
    environment = PythonEnvironment("odd", ("--no-index", "pip"))

    environment.make()
    left = tmp_path / "odd" / "left"
    left.touch()
    environment.make()

    assert left.exists()
    assert environment.version("pip")
    replace(environment, requirements=("--no-index", "--no-deps", "pip")).make()
    assert not left.exists()


def test_words_and_peers_choose_systems():
    known = [odd(SQLITE, RQ, PORT, PORT_POSTGRES), replace(odd(PORT), key="other")]

    def chosen(**wanted: Any) -> list[tuple[str, list[str]]]:
        picked, _ = choosing.choose(known, Wanted(**wanted))
        return [(entry.key, [system.name for system in entry.systems]) for entry in picked]

    assert chosen(peers=False) == [("odd", ["plugspace_queue, SQLite, threads", "RQ SimpleWorker"])]
    assert chosen(words=["RQ"], keys=["odd"]) == [("odd", ["RQ SimpleWorker"])]
    assert chosen(words=["RQ"], keys=["other"]) == []


@pytest.mark.timeout(30)
def test_an_idle_process_that_dies_fails_its_measurement():
    class Broken(SimpleWorker):
        def idle(self) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('no such module')"]

    def weigh(trial: Trial) -> dict[str, float]:
        return {"a figure": trial.resident_when_idle()}

    found, failed = running.run([replace(odd(Broken()), run=weigh)], sizes.SMOKE)

    assert (found, failed) == ([], ["odd, RQ SimpleWorker, run 1"])


def test_the_ratio_is_ours_over_theirs():
    ours, peer, _ = rows()

    assert results.ratio(ours, peer) == 4.0
    assert results.ratio(None, peer) is None


def test_the_chart_has_a_bar_per_row_best_first_and_tells_ours_from_theirs():
    drawn = ElementTree.fromstring(chart.svg(rows(), KINDS))

    bars = drawn.findall(f"{SVG}rect")
    assert [bar.get("class") for bar in bars] == ["ours", "light", "ours"]
    assert float(bars[0].get("width", "")) == pytest.approx(
        4 * float(bars[1].get("width", "")), rel=0.01
    )
    assert all(float(bar.get("width", "")) >= 0 for bar in bars)
    assert [dot.get("class") for dot in drawn.findall(f"{SVG}circle")] == list(chart.LEGEND)


def test_less_is_drawn_first_where_less_is_better_and_an_outlier_is_cut():
    waits = [
        results.row(name, "1", "pickup", "ms", [value])
        for name, value in (("a <peer>", 400.0), ("ours, SQLite", 4.0), ("third", 5.0))
    ]

    drawn = ElementTree.fromstring(chart.svg(waits, {**KINDS, "third": chart.DURABLE}))

    assert [bar.get("class") for bar in drawn.findall(f"{SVG}rect")] == [
        "ours",
        "durable",
        "light",
    ]
    widths = [float(bar.get("width", "")) for bar in drawn.findall(f"{SVG}rect")]
    assert widths[2] == pytest.approx(chart.LONGEST * widths[1], rel=0.01)
    assert len(drawn.findall(f"{SVG}line[@class='cut']")) == 1


def test_the_table_says_which_way_is_better():
    told = list(table.lines(rows()))

    assert told[0] == "drain (tasks/s, more is better)"
    assert told[2].startswith("  a <peer>") and told[2].endswith("ours/this 4.00")
    assert "pickup (ms, less is better)" in told
