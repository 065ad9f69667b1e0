"""`python -m benchmarks`: measures, prints a table, writes latest.json and a chart.

A full run in which nothing failed and nothing was skipped replaces the published figures; others
write to var/benchmarks.
"""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import against, chart, choosing, gates, machine, results, running, sizes, table
from benchmarks.choosing import Wanted
from benchmarks.environments import Unavailable
from benchmarks.measures import MEASURES, Measure
from benchmarks.processes import ROOT
from benchmarks.results import Row
from benchmarks.systems.base import System

PUBLISHED = (ROOT / "benchmarks" / "latest.json", ROOT / "docs" / "images" / "benchmarks.svg")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, report."""
    given = _parser().parse_args(arguments)
    # A terminated run takes its servers with it, as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen, skipped = choosing.choose(_measures(given.against), _wanted(given))
    for name, reason in skipped.items():
        sys.stderr.write(f"Skipped: {name}: {reason}\n")
    if not chosen:
        sys.exit("Nothing to measure: no measure has such a system.")
    about = machine.describe()
    rows, failed = running.run(chosen, _size(given))
    about["load_after"] = machine.load()
    outcomes = gates.judge(rows, _systems(chosen))
    sys.stdout.write("\n".join([*table.lines(rows), *gates.lines(outcomes), "", ""]))
    plain = [outcome.plain() for outcome in outcomes]
    to = _targets(given, is_whole=not failed and not skipped)
    results.write(to[0], about, rows, plain)
    _draw(rows, chosen, to[1])
    sys.stdout.write(f"Wrote {to[0]} and {to[1]}\n")
    if failed:
        sys.exit(f"{len(failed)} measurements failed: {'; '.join(failed)}")
    if given.gates and any(outcome.word == gates.FAILS for outcome in outcomes):
        sys.exit("The performance budget is not kept.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    keys = [measure.key for measure in MEASURES]
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="once, with fewer tasks")
    size.add_argument("--smoke", action="store_true", help="a few tasks: does it run at all")
    parser.add_argument("--only", action="append", choices=keys, help="this measure; repeatable")
    parser.add_argument(
        "--system", action="append", metavar="WORDS", help="names with these words; repeatable"
    )
    parser.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with systems that are installed on demand (the first time needs the network)",
    )
    parser.add_argument("--rounds", type=_rounds, metavar="N", help="measure N times (5)")
    parser.add_argument(
        "--against",
        metavar="REVISION",
        help="ours here and at an earlier revision, in turns (cloned and installed into var/)",
    )
    parser.add_argument("--gates", action="store_true", help="end with 1 when a gate fails")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="write JSON and chart there")
    return parser


def _rounds(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds from 1")


def _measures(revision: str | None) -> Sequence[Measure]:
    try:
        return against.measures(revision, MEASURES) if revision else MEASURES
    except Unavailable as error:
        sys.exit(str(error))


def _size(given: argparse.Namespace) -> sizes.Size:
    size = sizes.SMOKE if given.smoke else sizes.QUICK if given.quick else sizes.FULL
    return dataclasses.replace(size, runs=given.rounds or size.runs)


def _wanted(given: argparse.Namespace) -> Wanted:
    return Wanted(keys=given.only or (), words=given.system or (), peers=given.peers)


def _systems(measures: Sequence[Measure]) -> dict[str, System]:
    return {system.name: system for measure in measures for system in measure.systems}


def _targets(given: argparse.Namespace, *, is_whole: bool) -> tuple[Path, Path]:
    is_short = given.quick or given.smoke or given.rounds
    is_part = is_short or given.only or given.system or given.against or not given.peers
    if given.into is None and is_whole and not is_part:
        return PUBLISHED
    folder = given.into or ROOT / "var" / "benchmarks"
    return folder / "latest.json", folder / "benchmarks.svg"


def _draw(rows: Sequence[Row], measures: Sequence[Measure], image: Path) -> None:
    kinds = {name: _kind(system) for name, system in _systems(measures).items()}
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_text(chart.svg(rows, kinds))


def _kind(system: System) -> str:
    if system.is_ours:
        return chart.OURS
    return chart.DURABLE if system.keeps_records else chart.LIGHT


if __name__ == "__main__":
    main()
