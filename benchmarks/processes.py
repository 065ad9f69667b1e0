"""Child processes of a measurement: each in a session of its own, none outlives it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 300.0
"""Seconds a producer or an installation may take."""


class ChildFailed(Exception):
    """A child process ended badly; the message holds the end of its output."""


def python(*arguments: str) -> list[str]:
    """A command of this very interpreter."""
    return [sys.executable, *arguments]


def ask(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a command to its end; the JSON of its last line."""
    with started(command, environment, stdout=subprocess.PIPE) as child:
        try:
            out, _ = child.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired as error:
            raise _overdue(command) from error
    if child.returncode:
        raise ChildFailed(f"{' '.join(command)} ended with {child.returncode}")
    answer: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return answer


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], **options: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    """A running command; it and all it started are killed at the end."""
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        start_new_session=True,
        **{"stdin": subprocess.DEVNULL, **options},
    )
    try:
        yield child
    finally:
        # Nothing of a measurement is worth a clean end: the next one starts from nothing.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def on_one_cpu(command: Sequence[str]) -> list[str]:
    """The same command with all its threads on one CPU; ChildFailed where that cannot be had."""
    if shutil.which("taskset") is None:
        raise ChildFailed("taskset (util-linux, Linux only) is not here")
    return ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0))), *command]


def run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command to its end; ChildFailed when that is a bad one."""
    with log.open("wb") as out, started(command, environment, stdout=out, stderr=out) as child:
        try:
            child.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired as error:
            raise _overdue(command) from error
    if child.returncode:
        raise _failure(command, child, log)


@contextmanager
def logged(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A running command whose output goes to a file; the file's end is told when it dies."""
    with log.open("wb") as out, started(command, environment, stdout=out, stderr=out) as child:
        yield child
        if child.poll() is not None:
            raise _failure(command, child, log)


def _overdue(command: Sequence[str]) -> ChildFailed:
    return ChildFailed(f"{' '.join(command)} did not end within {LONGEST:.0f} s")


def _failure(command: Sequence[str], child: "subprocess.Popen[bytes]", log: Path) -> ChildFailed:
    tail = log.read_text(errors="replace")[-2000:]
    return ChildFailed(f"{' '.join(command)} ended with {child.returncode}:\n{tail}")


def resident(session: int) -> float:
    """MiB of memory resident in all processes of a session; shared pages count in each."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in listed.stdout.splitlines())
    return sum(int(rss) for group, rss in rows if int(group) == session) / 1024
