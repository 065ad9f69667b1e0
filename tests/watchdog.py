"""Ends what a test run leaves behind, however the run ends: also after SIGKILL.

A run starts this module as a process and holds the write end of its standard input. When the run
is over, the input ends; the watchdog then kills every process of the run and removes its folder.
A process belongs to the run when its environment has the run's `PSQ_TEST_RUN` or when it works in
the run's folder: servers overwrite their environment, and their working directory is their data
directory. Without /proc (macOS) only the folder is removed.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NAME = "PSQ_TEST_RUN"
PROC = Path("/proc")
ROUNDS = 50
"""At most so many looks: a process that is killed may have started another just before."""


_running: "list[subprocess.Popen[bytes]]" = []


def start(folder: Path) -> None:
    """Watch over this process; all that it starts from now on carries the mark of `folder`."""
    os.environ[NAME] = str(folder)
    watchdog = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        # Ctrl-C goes to a whole process group; the watchdog has to outlive it.
        start_new_session=True,
    )
    # Its input ends when this process does, not when a garbage collector finds it.
    _running.append(watchdog)


def belonging(folder: Path) -> Iterator[int]:
    """The processes of the run with this folder, but for its watchdog."""
    mark = f"{NAME}={folder}".encode()
    for entry in PROC.glob("[0-9]*"):
        pid = int(entry.name)
        # It may be gone by now, or another user's.
        with suppress(OSError):
            is_marked = mark in (entry / "environ").read_bytes().split(b"\0")
            is_watchdog = os.fsencode(__file__) in (entry / "cmdline").read_bytes().split(b"\0")
            if not is_watchdog and (is_marked or _works_in(entry, folder)):
                yield pid


def _works_in(entry: Path, folder: Path) -> bool:
    return Path(os.readlink(entry / "cwd").removesuffix(" (deleted)")).is_relative_to(folder)


def sweep(folder: Path) -> list[int]:
    """Kill what belongs to the run and remove its folder; the ids of what was killed."""
    killed: list[int] = []
    for _ in range(ROUNDS):
        found = list(belonging(folder))
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += found
    shutil.rmtree(folder, ignore_errors=True)
    return sorted(set(killed))


def main() -> None:
    """Wait for the end of the run, then sweep."""
    sys.stdin.buffer.read()
    sweep(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
