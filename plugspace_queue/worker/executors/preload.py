"""The module that the forkserver imports: it loads Django once for all isolated attempts.

multiprocessing imports it and ignores an ImportError, so it reports its result through a pipe.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from importlib import import_module

VARIABLE = "PLUGSPACE_FORKSERVER"
"""The environment variable that holds the instructions, as JSON."""

LONGEST = 8 * 1024
"""Most characters of an error; a pipe buffers that many even while nothing reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What the worker tells its forkserver to do."""

    pipe: str
    """The path of the named pipe for the report; empty for no report."""
    loads: bool
    """Whether to load Django; otherwise each child loads it."""
    sys_path: list[str]
    python_path: str | None
    """The original PYTHONPATH, which the worker extends so that this module is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkserverReport:
    """The forkserver's report to the worker."""

    pid: int
    error: str = ""
    threads: int = 1

    @property
    def trouble(self) -> str:
        """Why children cannot be forked from it; empty when they can."""
        if self.error:
            return self.error
        return f"{self.threads} threads run once it is loaded" if self.threads > 1 else ""


def main(instructions: Instructions) -> None:
    """Load, report, and end this process when children cannot be forked from it."""
    # This process ends with the worker, by multiprocessing's pipe. If a signal to the whole process
    # group ended it earlier, the worker would treat its children as dead although they still run.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _set_environment(instructions)
    # Opened before anything is loaded, so that the worker notices if this process ends meanwhile.
    pipe = _open(instructions.pipe)
    _write(pipe, f"{os.getpid()}\n")
    report = _load() if instructions.loads else ForkserverReport(pid=os.getpid())
    _write(pipe, json.dumps(asdict(report)))
    if report.trouble:
        # The worker starts another forkserver, which loads nothing.
        os._exit(0)
    if pipe is not None:
        os.close(pipe)


def _open(path: str) -> int | None:
    """Open the pipe and remove its file at once, as the worker may be killed before it does."""
    if not path:
        return None
    try:
        # Non-blocking: the worker may have ended, and then no reader would ever come.
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
            os.rmdir(os.path.dirname(path))


def _write(pipe: int | None, text: str) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            os.write(pipe, text.encode())


def _set_environment(instructions: Instructions) -> None:
    sys.path[:] = instructions.sys_path
    os.environ.pop("PYTHONPATH", None)
    if instructions.python_path is not None:
        os.environ["PYTHONPATH"] = instructions.python_path


def _load() -> ForkserverReport:
    try:
        import_module("django").setup()
        import_module("plugspace_queue.worker.executors.child")
        import_module("plugspace_queue.processing.registry").load_processors()
        _close_connections()
    except BaseException:
        return ForkserverReport(pid=os.getpid(), error=traceback.format_exc()[-LONGEST:])
    # Frozen objects are skipped by the garbage collector, which in a child would copy their pages.
    gc.collect()
    gc.freeze()
    return ForkserverReport(pid=os.getpid(), threads=_threads())


def _close_connections() -> None:
    """Children must not share a connection that an app opened while it was loaded."""
    for connection in import_module("django.db").connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            # A pool keeps connections, and threads, open.
            connection.close_pool()


def _threads() -> int:
    """Number of threads of this process, including those that libraries start outside Python."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


if VARIABLE in os.environ:
    main(Instructions(**json.loads(os.environ.pop(VARIABLE))))
