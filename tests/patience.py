"""One factor for every time limit of the suite, so that a busy machine is waited for.

`PSQ_PATIENCE` sets the factor; without it a calibration at the start measures how much slower than
alone this process runs. The factor is put into the environment: pytest's workers and the
processes that tests start use the same one.

What a promise says in seconds is held by `make prove` alone (`PSQ_TIMES=1`), on a quiet machine:
the suite runs the same tests (marked `timed`) and looks at order, counts and states.
"""

import os
import time

NAME = "PSQ_PATIENCE"
# Seconds of processor time the calibration uses, and the bounds of what it may find.
SAMPLE = 0.2
LEAST, MOST = 1.0, 30.0


def calibrate() -> float:
    """The factor, from `PSQ_PATIENCE` or measured; the same in every later call and child."""
    if NAME not in os.environ:
        os.environ[NAME] = f"{min(MOST, max(LEAST, _slowdown(), _load())):.1f}"
    return float(os.environ[NAME])


def _slowdown() -> float:
    # Elapsed time over processor time of a busy loop: 1 on an idle processor, n when n share it.
    begun, used = time.monotonic(), time.process_time()
    while time.process_time() - used < SAMPLE:
        pass
    return (time.monotonic() - begun) / (time.process_time() - used)


def _load() -> float:
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else LEAST


FACTOR = calibrate()


def patient(seconds: float) -> float:
    """A limit of `seconds` on a quiet machine, as a limit on this one."""
    return seconds * FACTOR


HOLDS_TIMES = os.environ.get("PSQ_TIMES") == "1"
figures: list[str] = []
"""What `took` was told in this process, for the report of `make prove`."""


def took(seconds: float, limit: float, what: str) -> None:
    """Note that `what` took `seconds`; under `make prove` fail above `limit`."""
    line = f"{what}: {seconds:.3f} s (limit {limit:g} s)"
    figures.append(line)
    print(line)
    assert not HOLDS_TIMES or seconds <= limit, line
