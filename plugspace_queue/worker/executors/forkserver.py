"""The process that isolated attempts are forked from: started before any thread of the worker.

It loads Django once (`preload.py`), so that a child is there within milliseconds. It never has a
thread: children inherit every lock that another thread holds at the fork.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import select
import signal
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing import forkserver
from pathlib import Path

import plugspace_queue
from plugspace_queue.worker.executors import preload
from plugspace_queue.worker.executors.preload import Instructions, Report

logger = logging.getLogger("plugspace_queue.worker")

LOADING = 60.0
"""Seconds that the forkserver may take to load; after that children are started all the same."""

WITHOUT = "children for isolated attempts start without code loaded before, which takes each longer"


class Forkserver:
    """Starts the forkserver and reads its report; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_started = False
        self._pid = 0
        """0: not known, as it has not reported."""
        self._loads = True
        self._pipe: ReportPipe | None = None

    def start(self) -> None:
        """Start it, and say so when it cannot load; waits for nothing."""
        try:
            with self._lock:
                self._start_if_gone()
        except OSError as error:
            # Nowhere to put its socket, as in a container that may write nowhere: all else works.
            logger.warning("no forkserver (%s); isolated attempts cannot start", error)
            return
        name = "plugspace-forkserver"
        threading.Thread(target=self.ensure_ready, name=name, daemon=True).start()

    def ensure_ready(self) -> None:
        """Wait until children can be forked from it; starts it again when it is gone."""
        with self._lock:
            self._start_if_gone()
            while self._pipe is not None:
                self._take_report(self._pipe)

    def _start_if_gone(self) -> None:
        if not self._is_started or (self._pid and not _is_child(self._pid)):
            self._start()

    def _start(self) -> None:
        pipe = _open_pipe()
        try:
            multiprocessing.set_forkserver_preload([preload.__name__])
            with _environment(self._instructions(pipe)):
                forkserver.ensure_running()
        except BaseException:
            if pipe is not None:
                pipe.close()
            raise
        self._is_started, self._pid, self._pipe = True, 0, pipe

    def _instructions(self, pipe: "ReportPipe | None") -> Instructions:
        return Instructions(
            pipe=pipe.path if pipe else "",
            # Unheard it might have threads.
            loads=self._loads and pipe is not None,
            sys_path=[str(path) for path in sys.path],
            python_path=os.environ.get("PYTHONPATH"),
        )

    def _take_report(self, pipe: "ReportPipe") -> None:
        report = pipe.read(LOADING)
        pipe.close()
        self._pipe = None
        if report is None:
            logger.warning("the forkserver does not report; %s", WITHOUT)
            return
        self._pid = report.pid
        if report.trouble:
            logger.warning("the forkserver cannot be used (%s); %s", report.trouble, WITHOUT)
            self._loads = False
            _end(self._pid)
            self._start()


class ReportPipe:
    """A named pipe: the forkserver inherits no file that multiprocessing does not pass on."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="plugspace-")
        self.path = str(Path(self._folder.name) / "report")
        os.mkfifo(self.path, 0o600)
        self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, seconds: float) -> Report | None:
        """The report, or why there is none; None when nobody writes one."""
        deadline, told = time.monotonic() + seconds, b""
        while select.select([self._file], [], [], max(deadline - time.monotonic(), 0))[0]:
            part = os.read(self._file, 65536)
            told += part
            if not part:
                return _parsed(told, "it ended while it loaded")
        return _parsed(told, f"it did not load within {seconds:g} s")

    def close(self) -> None:
        os.close(self._file)
        self._folder.cleanup()


def _parsed(told: bytes, otherwise: str) -> Report | None:
    pid, _, report = told.partition(b"\n")
    if not pid:
        return None
    try:
        return Report(**json.loads(report))
    except (ValueError, TypeError):
        return Report(pid=int(pid), error=otherwise)


def _open_pipe() -> ReportPipe | None:
    try:
        return ReportPipe()
    except OSError as error:
        logger.warning("no pipe for the forkserver's report (%s); %s", error, WITHOUT)
        return None


def _is_child(pid: int) -> bool:
    """Whether the process lives, without taking its exit status from multiprocessing."""
    try:
        return bool(pid) and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _end(pid: int) -> None:
    """multiprocessing starts another one only when this one has ended."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def _environment(instructions: Instructions) -> Iterator[None]:
    """What the forkserver reads when it starts; it cannot be told otherwise before it imports."""
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", preload.VARIABLE)}
    os.environ["PYTHONPATH"] = os.pathsep.join(_paths(before["PYTHONPATH"]))
    os.environ[preload.VARIABLE] = json.dumps(asdict(instructions))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _paths(before: str | None) -> list[str]:
    """PYTHONPATH by which `preload.py` is found, as by this process's own sys.path."""
    home = str(Path(plugspace_queue.__file__).parents[1])
    # Installed packages are found without, and must not come before Python's own modules.
    is_installed = home in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return [*([] if is_installed else [home]), *filter(None, [before])]


_forkserver = Forkserver()
"""This process's: multiprocessing has one."""

start = _forkserver.start
ensure_ready = _forkserver.ensure_ready
