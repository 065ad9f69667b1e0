"""The worker processes of a run and their supervisor: whoever ends is replaced, as a service is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from plugspace_queue.conf import SEED_TYPES
from tests.chaos import journal
from tests.chaos.clocks import SETTLES_IN

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Worker:
    """One `rqworker` process; `trouble` is what a fault does to it at the moment."""

    name: str
    process: "subprocess.Popen[bytes]"
    trouble: str = ""
    told_at: float = 0.0
    began: float = field(default_factory=time.time)

    def signal(self, signum: int) -> None:
        """To the process alone: its children stay, as when the kernel picks it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signum)

    def signal_group(self, signum: int) -> None:
        """To all processes of its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signum)


@dataclass(frozen=True)
class Departure:
    """How one worker ended; `trouble` is empty when no fault had to do with it."""

    worker: str
    at: float
    code: int
    trouble: str
    took: float
    lived: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Fleet:
    """So many workers as long as it is kept."""

    def __init__(self, size: int, environment: Mapping[str, str], logs: Path) -> None:
        self.departures: list[Departure] = []
        self._size = size
        self._environment = dict(environment)
        self._logs = logs
        self._numbers = count(1)
        self._workers: list[Worker] = []

    def keep(self) -> None:
        """Replace those that ended; called often."""
        for worker in [one for one in self._workers if one.process.poll() is not None]:
            self._workers.remove(worker)
            self.departures.append(_departure(worker))
            # Children and helpers of a killed process end by themselves; nobody waits for them.
        while len(self._workers) < self._size:
            self._workers.append(self._start(f"w{next(self._numbers)}"))

    def lives(self) -> list[dict[str, Any]]:
        """Every worker so far: its name, when it began, and when it ended if it has."""
        gone = [
            {"worker": one.worker, "began": one.at - one.lived, "ended": one.at}
            for one in self.departures
        ]
        return [*gone, *({"worker": one.name, "began": one.began} for one in self._workers)]

    def untroubled(self) -> list[Worker]:
        """Workers that no fault has in its hands; those that start only when no other is there."""
        living = [one for one in self._workers if one.process.poll() is None]
        free = [one for one in living if not one.trouble]
        return [one for one in free if time.time() - one.began > SETTLES_IN] or free

    def close(self) -> None:
        """Kill them all."""
        for worker in self._workers:
            worker.signal_group(signal.SIGKILL)
            worker.process.wait(timeout=30)
        self._workers.clear()

    def _start(self, name: str) -> Worker:
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "rqworker", *(name.lower() for name in SEED_TYPES)],
                cwd=ROOT,
                env=os.environ | self._environment | {journal.WORKER: name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Worker(name, process)


def _departure(worker: Worker) -> Departure:
    now = time.time()
    took = now - worker.told_at if worker.told_at else 0.0
    return Departure(
        worker.name,
        at=now,
        code=worker.process.returncode,
        trouble=worker.trouble,
        took=took,
        lived=now - worker.began,
    )
