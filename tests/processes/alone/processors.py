"""An isolated processor that says which process loaded it; TEST_LOADING says how that goes.

`error`, `thread` and `query` happen where children are forked from, `slow` there, `slow-child` in
a child that has to load this itself.
"""

import multiprocessing
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from django.db import connection
from django.utils import timezone

from plugspace_queue import processor
from tests.patience import patient

LOADED_IN = os.getpid()
SLOW = patient(3)


def place() -> str:
    """Which kind of process this is."""
    if multiprocessing.current_process().name != "MainProcess":
        return "child"
    is_forkserver = any("multiprocessing.forkserver" in word for word in sys.orig_argv)
    return "forkserver" if is_forkserver else "worker"


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def fail() -> None:
    raise ImportError("no module named as asked")


def start_thread() -> None:
    threading.Thread(target=wait, args=(600,), name="left-behind", daemon=True).start()


ACTIONS = {
    ("error", "forkserver"): fail,
    ("thread", "forkserver"): start_thread,
    ("query", "forkserver"): query,
    ("slow", "forkserver"): lambda: wait(SLOW),
    ("slow-child", "child"): lambda: wait(SLOW),
}

for word in os.environ.get("TEST_LOADING", "").split():
    ACTIONS.get((word, place()), bool)()


@processor("ANALYZE", output=Any, replace=True, isolation="process", timeout=SLOW * 2 / 3)
def analyze(context: Any) -> Any:
    return STEPS[context.input.url.rpartition("/")[2]](context)


@processor("CODE", output=Any, replace=True, isolation="process")
def hold(context: Any) -> Any:
    """Work until the process ends."""
    context.report_progress(1)
    wait(600)


def tell(context: Any) -> Any:
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "loaded_in": LOADED_IN,
        "connected": connection.connection is not None,
    }


def lose_the_time(context: Any) -> Any:
    """Each look at the clock says something else, thousands of years apart."""
    times = cycle([datetime(2, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)])
    if context.input.url.startswith("http:"):
        next(times)
    timezone.now = lambda: next(times) + timedelta(seconds=1)
    raise ConnectionError("busy")


def be_busy(context: Any) -> Any:
    raise ConnectionError("busy")


STEPS = {"busy": be_busy, "tell": tell, "lose_the_time": lose_the_time}
