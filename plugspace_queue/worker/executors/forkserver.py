"""The process that isolated attempts are forked from: started before any thread of the worker.

It loads Django once (`preload.py`), so that a child starts within milliseconds. It must never have
a second thread: children inherit every lock that another thread holds at the fork.
"""

import contextlib
import json
import logging
import math
import multiprocessing
import os
import select
import signal
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import plugspace_queue
from plugspace_queue.worker.executors import preload
from plugspace_queue.worker.executors.preload import ForkserverReport, Instructions

logger = logging.getLogger("plugspace_queue.worker")

LOADING = 60.0
"""Seconds that the forkserver may take to load; after that, children start without loaded code."""

POLL = 0.1
"""Seconds between two checks whether it is still alive while it loads."""

ENDED = "it ended while it loaded"

WITHOUT = "children for isolated attempts start without code loaded before, which takes each longer"


class Gone(Exception):
    """The forkserver ended while it was asked for a process; the next call starts another one."""


class Forkserver:
    """Starts the forkserver and reads its report; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        """0 when none was started."""
        self._loads = True
        self._has_ended = False
        """Whether the last one ended while it loaded, without reporting an error."""
        self._pipe: ReportPipe | None = None
        self._asked_at = math.inf
        """When the pending fork request was made (monotonic); infinite when none is pending."""

    def start(self) -> None:
        """Start it, and log when it cannot load; does not block."""
        try:
            with self._lock:
                self._start_if_gone()
        except OSError as error:
            # No place for its socket, as in a read-only container: only isolated attempts fail.
            logger.warning("no forkserver (%s); isolated attempts cannot start", error)
            return
        name = "plugspace-forkserver"
        threading.Thread(target=self._try_to_load, name=name, daemon=True).start()

    def _try_to_load(self) -> None:
        try:
            self.ensure_ready()
        except (OSError, Gone) as error:
            logger.warning("no forkserver yet (%s); isolated attempts try again", error)

    def ensure_ready(self) -> None:
        """Wait until children can be forked from it, and restart it when it has ended."""
        with self._lock:
            self._make_ready()

    def fork(self, process: BaseProcess) -> None:
        """Fork this process from a forkserver that has loaded the code.

        Raises Gone when the forkserver ended meanwhile, OSError when none can be started. One call
        at a time: multiprocessing does not expect another thread to replace the forkserver.
        """
        with self._lock:
            self._make_ready()
            self._asked_at = time.monotonic()
            try:
                process.start()
            except (EOFError, ConnectionError, FileNotFoundError) as error:
                # It is exiting, or its socket was removed; kill it, as it still counts as alive.
                _end(self._pid)
                raise Gone(repr(error)) from error
            finally:
                self._asked_at = math.inf
            if not _is_in_use(self._pid):
                raise Gone("multiprocessing started another one, which has loaded nothing")

    def check(self, limit: float) -> None:
        """Kill it when a fork request has not been answered for `limit` seconds (any thread).

        This ends the wait of the thread that made the request.
        """
        if time.monotonic() - self._asked_at > limit:
            self._asked_at = math.inf
            logger.error("the forkserver has not answered for %g s; another is started", limit)
            _kill(self._pid)

    def _make_ready(self) -> None:
        self._start_if_gone()
        while self._pipe is not None:
            self._take_report(self._pipe)

    def _start_if_gone(self) -> None:
        if _is_in_use(self._pid):
            return
        if self._pipe is not None:
            self._close_pipe(self._pipe)
        if self._pid:
            # multiprocessing starts one by itself when ours has ended; that one loads nothing.
            _end(_pid_in_use())
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
        self._pid, self._pipe = _pid_in_use(), pipe

    def _instructions(self, pipe: "ReportPipe | None") -> Instructions:
        return Instructions(
            pipe=pipe.path if pipe else "",
            # Without a report we would not know whether it has several threads.
            loads=self._loads and pipe is not None,
            sys_path=[str(path) for path in sys.path],
            python_path=os.environ.get("PYTHONPATH"),
        )

    def _take_report(self, pipe: "ReportPipe") -> None:
        report = pipe.read(LOADING, is_alive=lambda: _is_child(self._pid))
        self._close_pipe(pipe)
        if report is None:
            logger.warning("the forkserver does not report; %s", WITHOUT)
        elif report.error == ENDED and not self._has_ended:
            # It may have been killed, so try once more; if its own code ends it, that repeats.
            logger.warning("the forkserver ended while it loaded; another one is started")
            self._has_ended = True
            self._replace()
        elif report.trouble and not self._loads:
            raise Gone(report.trouble)
        elif report.trouble:
            logger.warning("the forkserver cannot be used (%s); %s", report.trouble, WITHOUT)
            self._loads = False
            self._replace()
        else:
            self._has_ended = False

    def _replace(self) -> None:
        _end(self._pid)
        self._start()

    def _close_pipe(self, pipe: "ReportPipe") -> None:
        pipe.close()
        self._pipe = None


class ReportPipe:
    """A named pipe, as the forkserver inherits only the files that multiprocessing passes on."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="plugspace-")
        self.path = str(Path(self._folder.name) / "report")
        os.mkfifo(self.path, 0o600)
        self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, seconds: float, *, is_alive: Callable[[], bool]) -> ForkserverReport | None:
        """The report, or one that says why it is missing; None if a live process sends none."""
        deadline, received, lives = time.monotonic() + seconds, b"", True
        while lives and (left := deadline - time.monotonic()) > 0:
            # Checked before reading, so that what it wrote before it ended is still read.
            lives = is_alive()
            if select.select([self._file], [], [], min(left, POLL) if lives else 0)[0]:
                part = os.read(self._file, 65536)
                received, lives = received + part, bool(part)
        return _parsed(received, f"it did not load within {seconds:g} s" if lives else ENDED)

    def close(self) -> None:
        os.close(self._file)
        self._folder.cleanup()


def _parsed(received: bytes, otherwise: str) -> ForkserverReport | None:
    pid, _, report = received.partition(b"\n")
    if not pid:
        return ForkserverReport(pid=0, error=ENDED) if otherwise == ENDED else None
    try:
        return ForkserverReport(**json.loads(report))
    except (ValueError, TypeError):
        return ForkserverReport(pid=int(pid), error=otherwise)


def _open_pipe() -> ReportPipe | None:
    try:
        return ReportPipe()
    except OSError as error:
        logger.warning("no pipe for the forkserver's report (%s); %s", error, WITHOUT)
        return None


def _is_child(pid: int) -> bool:
    """Whether the process is alive; its exit status is left for multiprocessing to collect."""
    try:
        return bool(pid) and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _pid_in_use() -> int:
    """The pid of multiprocessing's current forkserver, or 0; it has no public attribute."""
    return forkserver._forkserver._forkserver_pid or 0  # type: ignore[attr-defined]


def _is_in_use(pid: int) -> bool:
    """Whether children are forked from this process: it is alive and was not replaced."""
    return pid == _pid_in_use() and _is_child(pid)


def _kill(pid: int) -> None:
    if _is_child(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _end(pid: int) -> None:
    """Kill it and wait, as multiprocessing only starts another one after this one has ended."""
    _kill(pid)
    if pid:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def _environment(instructions: Instructions) -> Iterator[None]:
    """Set the environment that the forkserver reads: the only input it has before it imports."""
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
    """PYTHONPATH entries with which the forkserver finds `preload.py`."""
    home = str(Path(plugspace_queue.__file__).parents[1])
    # Installed packages are found anyway, and must not precede Python's own modules.
    is_installed = home in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return [*([] if is_installed else [home]), *filter(None, [before])]


_forkserver = Forkserver()
"""The only one of this process, as multiprocessing has only one forkserver."""

start = _forkserver.start
ensure_ready = _forkserver.ensure_ready
fork = _forkserver.fork
check = _forkserver.check
