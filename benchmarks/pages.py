"""`python -m benchmarks.pages`: how long lists and pages take in front of a million tasks.

On a PostgreSQL and a Redis of its own, which are gone afterwards. Ends with 1 when a limit is
broken: 50 ms for the API, 200 ms for a page, in 95 of 100 cases.
"""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, processes
from benchmarks.ground import Ground
from benchmarks.processes import ROOT

NAME = "bench_pages"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, time, report."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = machine.describe()
    with Ground() as ground:
        environment = _environment(ground)
        _manage(environment, "bench_prepare")
        _manage(environment, "bench_fill", "--tasks", str(given.tasks))
        words = ("--rounds", str(given.rounds), "--only", given.only)
        rows = json.loads(_manage(environment, "bench_pages", *words).splitlines()[-1])
    given.into.mkdir(parents=True, exist_ok=True)
    written = given.into / "pages.json"
    written.write_text(json.dumps({"machine": about, "tasks": given.tasks, "rows": rows}, indent=1))
    sys.stdout.write(f"Wrote {written}\n")
    _judge(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20, help="times each address is asked")
    parser.add_argument("--only", default="", help="only addresses that contain this")
    kept = ROOT / "var" / "benchmarks"
    parser.add_argument(
        "--into", type=Path, default=kept, metavar="FOLDER", help="write JSON there"
    )
    return parser


def _environment(ground: Ground) -> Mapping[str, str]:
    socket = ground.redis(False).connection_pool.connection_kwargs["path"]
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.host.settings",
        "DATABASE_URL": ground.postgres().create(NAME),
        "REDIS_URL": f"unix://{socket}?db=0",
        # With DEBUG each query would be kept.
        "DEBUG": "0",
        "SECRET_KEY": "of-a-benchmark-" + "x" * 32,
        "ALLOWED_HOSTS": "testserver",
    }


def _manage(environment: Mapping[str, str], *words: str) -> str:
    """Run a command to its end, its output passed on; the output."""
    told: list[str] = []
    command = processes.python("manage.py", *words)
    with processes.started(command, environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for line in child.stdout:
            told.append(line.decode())
            if not told[-1].startswith("["):
                sys.stdout.write(told[-1])
                sys.stdout.flush()
        if child.wait():
            sys.exit(f"{words[0]} ended with {child.returncode}")
    return "".join(told)


def _judge(rows: Sequence[Mapping[str, Any]]) -> None:
    slow = [row["address"] for row in rows if row["p95"] > row["limit"]]
    sys.stdout.write(f"{len(rows)} addresses, {len(slow)} over their limit.\n")
    if slow:
        sys.exit("The limits are not kept.")


if __name__ == "__main__":
    main()
