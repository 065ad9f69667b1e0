"""The demo's processes: each in a group of its own, with its log, and gone when the demo ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from project.demo import lifeline

GRACE = 8.0
POLL = 0.05


class ChildDied(Exception):
    """A process that should run has ended; the message holds the end of its log."""


@dataclass(frozen=True)
class Child:
    """One running program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def signal_group(self, number: int) -> None:
        """Send a signal to the program and to what it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def is_running(self) -> bool:
        """Whether the program itself is still there."""
        return self.process.poll() is None


class Children:
    """Starts, watches and stops them."""

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        self._logs = logs
        self._environment = environment
        # Only this process holds the writing end: when it dies, however it dies, they notice.
        self._lifeline, self._hold = os.pipe()
        self.running: list[Child] = []

    def start(self, name: str, *arguments: str, pass_fds: Sequence[int] = ()) -> None:
        """Run `python -m <arguments>`; its output goes to <name>.log."""
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", lifeline.__name__, str(self._lifeline), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=[self._lifeline, *pass_fds],
                # Ctrl-C on the terminal is for the demo, which then stops them in order.
                start_new_session=True,
            )
        self.running.append(Child(name, process, path))

    def check(self) -> None:
        """Raise ChildDied when one has ended."""
        for child in self.running:
            code = child.process.poll()
            if code is not None:
                raise ChildDied(f"{child.name} ended with {code}. {child.log}:\n{child.tail()}")

    def tails(self) -> str:
        """The ends of all logs, for a report of what went wrong."""
        return "\n".join(f"{child.log}:\n{child.tail()}" for child in self.running)

    def stop(self) -> None:
        """SIGTERM to all; after their end or the grace time SIGKILL to what is left of them."""
        self._signal(signal.SIGTERM)
        self._wait()
        self._signal(signal.SIGKILL)
        self._wait()
        self.running.clear()

    def _signal(self, number: int) -> None:
        for child in self.running:
            child.signal_group(number)

    def _wait(self) -> None:
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(child.is_running() for child in self.running):
            time.sleep(POLL)
