"""`make prove`: what is too big or too slow for CI; writes a report into docs/proofs.

Each stage is a command that fails by its exit code. ONLY names the stages to run, FOR says in the
report's title what was proved.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.prove import report
from tests.prove.stages import ROOT, STAGES, Result, Stage, run

FOLDER = ROOT / "docs" / "proofs"


def main(words: Sequence[str] | None = None) -> int:
    """Run the stages one after the other and write the report; 0 when none failed."""
    given = _parser().parse_args(words)
    chosen = [stage for stage in STAGES if not given.only or stage.name in given.only]
    began = datetime.now(UTC)
    results: list[Result] = []
    for number, stage in enumerate(chosen, 1):
        sys.stdout.write(f"== {number} of {len(chosen)}, {stage.name}: {stage.what}\n")
        sys.stdout.flush()
        results.append(_timed(stage))
        sys.stdout.write(f"== {stage.name}: {results[-1].word}\n")
    path = given.into / f"{began:%Y-%m-%d}-{report.revision()[:7]}.md"
    given.into.mkdir(parents=True, exist_ok=True)
    path.write_text(report.page(began, results), encoding="utf-8")
    sys.stdout.write(f"The report is {path}\n")
    return int(any(result.word == "FAILED" for result in results))


def _timed(stage: Stage) -> Result:
    began = time.monotonic()
    code, told = run(stage)
    return Result(stage, code, told, time.monotonic() - began)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    names = [stage.name for stage in STAGES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="STAGE", help=", ".join(names))
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
