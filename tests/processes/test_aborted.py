"""A test run that is aborted leaves no process and no folder behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import watchdog
from tests.support import child_environment, patient, wait_until

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not watchdog.PROC.is_dir(), reason="processes are found in /proc"),
]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("spread", [(), ("-n", "1")], ids=["alone", "with xdist"])
def test_a_run_that_is_aborted_leaves_no_worker_and_no_server(
    tmp_path: Path, number: int, spread: tuple[str, ...]
) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-m", "pytest", "-q", *spread, "tests/processes/aborted.py"]
    # What pytest and xdist tell their own processes is not for a run in a run.
    environment = child_environment(PSQ_TOLD=str(told))
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_")}
    with (tmp_path / "run.log").open("wb") as log:
        run = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    wait_until(lambda: told.exists() and told.read_text(), 60, "the run did not start")
    folder = Path(told.read_text())
    # Worker and server at least, whatever else a run has.
    assert len(list(watchdog.belonging(folder))) >= 2

    run.send_signal(number)
    run.wait(timeout=patient(30))

    wait_until(lambda: not list(watchdog.belonging(folder)), 20, "processes are left behind")
    wait_until(lambda: not folder.exists(), 20, "the folder is left behind")
