"""A test that never ends, for test_aborted.py, with a worker, a server and a database of its own.

Not named test_*: only who names this file runs it.
"""

import os
import threading
from pathlib import Path

import pytest

from tests.watchdog import NAME


@pytest.mark.usefixtures("acme")
def test_that_hangs_with_a_worker(rqworker):
    rqworker("architect")

    Path(os.environ["PSQ_TOLD"]).write_text(os.environ[NAME])
    threading.Event().wait()
