"""`python -m tests.chaos`: workers under load and faults, then a verdict; 0 when all was kept."""

import argparse
import random
import signal
import sys
from pathlib import Path

from tests import postgres
from tests.chaos.fleet import ROOT
from tests.chaos.run import Plan, Run


def main() -> int:
    """Read the options, run, tell."""
    given = _parser().parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    database = given.database or _database()
    sys.stdout.write(
        f"Chaos: seed {seed}, {given.seconds:g} s, {given.workers} workers, {database}\n"
    )
    sys.stdout.flush()
    _clear(given.into)
    # SIGTERM as Ctrl-C: nothing that was started is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(
        seconds=given.seconds,
        workers=given.workers,
        seed=seed,
        database=database,
        rate=given.rate,
        gap=given.gap,
        patience=given.patience,
        into=given.into.resolve(),
    )
    with Run(plan) as run:
        return run.go()


def _clear(folder: Path) -> None:
    """An empty folder: the run before left its calls and its journal there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("calls", "journal", "told.json", "report.json", "report.md"):
        (folder / name).unlink(missing_ok=True)
    for log in folder.glob("w*.log"):
        log.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=180.0,
        help="of load and faults; at least until each fault was tried once",
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, help="the same faults in the same order again")
    parser.add_argument("--database", choices=["postgres", "sqlite"])
    parser.add_argument("--rate", type=float, default=12.0, help="calls per second")
    parser.add_argument("--gap", type=float, default=8.0, help="most seconds between two faults")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds without any change")
    parser.add_argument(
        "--into", type=Path, default=ROOT / "var" / "chaos", metavar="FOLDER", help="report, logs"
    )
    return parser


def _database() -> str:
    if postgres.binaries() is not None:
        return "postgres"
    sys.stdout.write("PostgreSQL is not here: the run is on SQLite, without restarts of it.\n")
    return "sqlite"


if __name__ == "__main__":
    sys.exit(main())
