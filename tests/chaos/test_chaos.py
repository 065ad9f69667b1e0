"""A short chaos run with a known seed: everything is killed once, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.chaos.fleet import ROOT

SECONDS = 14
SEED = 1
SIGNALS = ("SIGKILL", "SIGSTOP", "SIGTERM")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_lost_while_workers_and_servers_are_killed(tmp_path: Path):
    on_postgres = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")
    command = [sys.executable, "-m", "tests.chaos", "--seconds", str(SECONDS), "--rate", "6"]
    options = {
        "--gap": "3",
        "--workers": "2",
        "--seed": str(SEED),
        "--database": "postgres" if on_postgres else "sqlite",
        "--into": str(tmp_path),
    }
    words = [word for pair in options.items() for word in pair]

    done = subprocess.run(
        [*command, *words], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    told = json.loads((tmp_path / "report.json").read_text())
    restarts = ["Redis restart", *(["PostgreSQL restart"] if on_postgres else [])]
    assert {one["name"] for one in told["faults"]} == {*SIGNALS, "FLUSHALL", *restarts}
    assert told["states"]["complete"] > 20
