"""`make bench-pages` fills a database of its own, asks every address and judges what it took."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages
from benchmarks.host.places import Place
from benchmarks.host.timing import Timed

ROOT = Path(__file__).parents[2]


def row(**changes: Any) -> dict[str, Any]:
    return {"address": "/a/", "asks": "staff", "limit": 50, "p50": 9.0, "p95": 50.0, **changes}


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_small_run_times_the_lists_of_the_staff_and_of_an_organization(tmp_path: Path):
    words = ("--tasks", "30000", "--rounds", "2", "--only", "/api/v1/workflows/?kind=clone")

    # Its end tells whether the limits were kept, which a busy machine decides.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pages", *words, "--into", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "30000 tasks in" in done.stdout, done.stderr
    written = json.loads((tmp_path / "pages.json").read_text())
    assert written["tasks"] == 30_000
    assert sorted(row["asks"] for row in written["rows"]) == ["org-0", "org-7", "staff"]
    assert all(row["p50"] > 0 and row["limit"] == 50 for row in written["rows"])


def test_a_run_ends_with_an_error_when_an_address_takes_too_long():
    pages._judge([row()])

    with pytest.raises(SystemExit):
        pages._judge([row(), row(p95=50.1)])


def test_a_figure_over_its_limit_is_slow():
    place = Place(address="/a/", asks="staff", limit=50)

    assert Timed(place=place, p50=1, p95=51).is_slow
    assert not Timed(place=place, p50=1, p95=50).is_slow
