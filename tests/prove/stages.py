"""The stages of `make prove`: commands, what each proves, and what of their output is reported."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests import postgres

ROOT = Path(__file__).parents[2]
TIMES = ("pytest", "-q", "-m", "timed or prove", "-p", "no:xdist", "--ignore=tests/browser")
ON_POSTGRES = {"PSQ_TEST_DATABASE": "postgres", "PSQ_TEST_REDIS_SERVER": "redis-server"}
CHAOS = ("tests.chaos", "--seconds", "180")


class Stage(NamedTuple):
    """A Python module with arguments, run in the project's root."""

    name: str
    what: str
    module: tuple[str, ...]
    environment: dict[str, str] = {}
    wants_postgres: bool = False


class Result(NamedTuple):
    """What became of a stage; `code` is None when it was skipped."""

    stage: Stage
    code: int | None
    told: list[str]
    seconds: float

    @property
    def word(self) -> str:
        """passed, FAILED or skipped."""
        return "skipped" if self.code is None else "FAILED" if self.code else "passed"


def _chaos(database: str, seed: int) -> Stage:
    return Stage(
        f"chaos-{database}-{seed}",
        f"workers and servers are killed under load for 180 s on {database}, seed {seed}",
        (*CHAOS, "--database", database, "--seed", str(seed)),
        wants_postgres=database == "postgres",
    )


STAGES = [
    Stage("times", "promises in seconds and sizes, on SQLite and Valkey", TIMES),
    Stage(
        "times-postgres",
        "promises in seconds and sizes, on PostgreSQL and redis-server",
        TIMES,
        ON_POSTGRES,
        wants_postgres=True,
    ),
    *(_chaos(database, seed) for database in ("sqlite", "postgres") for seed in (11, 12)),
    Stage("pages", "lists and pages in front of a million tasks", ("benchmarks.pages",)),
    Stage("browser", "the pages in Chromium", ("pytest", "-q", "tests/browser")),
]


def run(stage: Stage) -> tuple[int | None, list[str]]:
    """The exit code, None for a stage that this machine cannot run, and lines for the report."""
    if stage.wants_postgres and not (postgres.binaries() and shutil.which("redis-server")):
        return None, ["PostgreSQL or redis-server is not here: scripts/install-system-packages"]
    with tempfile.TemporaryDirectory(prefix="psq-prove-") as folder:
        figures = Path(folder) / "figures"
        process = subprocess.Popen(
            [sys.executable, "-m", *stage.module],
            cwd=ROOT,
            env=_environment() | stage.environment | {"PSQ_FIGURES": str(figures)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        said = _echo(process)
        lines = figures.read_text().splitlines() if figures.exists() else []
        return process.returncode, [*_worth_telling(said), *_slowest(lines)]


def _environment() -> dict[str, str]:
    # What this process got for its own tests is none of the stages' business.
    own = ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "TMPDIR")
    kept = {name: value for name, value in os.environ.items() if name not in own}
    kept = {name: value for name, value in kept.items() if not name.startswith("PLUGSPACE_")}
    return kept | {"PSQ_TIMES": "1", "PYTHONUNBUFFERED": "1"}


def _echo(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        said.append(line.rstrip())
    process.wait()
    return said


TOLD = re.compile(r"^(FAILED|ERROR) |\d+ (passed|failed)\b|survived|broken|violation|recover", re.I)


def _worth_telling(said: list[str]) -> list[str]:
    return [line.strip("= ") for line in said if TOLD.search(line)][-20:]


def _slowest(lines: list[str]) -> list[str]:
    """Of each figure that was measured several times the greatest."""
    worst: dict[str, str] = {}
    for line in lines:
        what = line.partition(": ")[0]
        worst[what] = max(worst.get(what, ""), line, key=_seconds)
    return [worst[what] for what in sorted(worst)]


def _seconds(line: str) -> float:
    found = re.search(r": ([\d.]+) s", line)
    return float(found[1]) if found else -1.0
