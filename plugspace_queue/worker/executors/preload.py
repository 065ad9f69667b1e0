"""What the forkserver imports before it forks: it loads Django once for all isolated attempts.

multiprocessing imports it there and passes over an ImportError, so it reports through a pipe.
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
"""Characters of an error; a pipe takes as much without a reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What a worker wants of its forkserver."""

    pipe: str
    """The path of the named pipe for the report; empty: no report."""
    loads: bool
    """Whether to load Django, or to leave that to each child."""
    sys_path: list[str]
    python_path: str | None
    """PYTHONPATH as it was: the worker extends it so that this module is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the worker is told."""

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
    # This process ends with the worker, by its pipe. Were it to end before, by a stop that reaches
    # the whole group, its children would seem dead to a worker that has told them nothing yet.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _set_environment(instructions)
    # Opened before anything is loaded: the worker hears of this process's end, whatever comes.
    pipe = _open(instructions.pipe)
    _tell(pipe, f"{os.getpid()}\n")
    report = _load() if instructions.loads else Report(pid=os.getpid())
    _tell(pipe, json.dumps(asdict(report)))
    if report.trouble:
        # The worker starts another one, which loads nothing.
        os._exit(0)
    if pipe is not None:
        os.close(pipe)


def _open(path: str) -> int | None:
    """The pipe; its name goes at once, as the worker may be killed before it does that."""
    if not path:
        return None
    try:
        # Without waiting for a reader: the worker may have ended meanwhile.
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
            os.rmdir(os.path.dirname(path))


def _tell(pipe: int | None, text: str) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            os.write(pipe, text.encode())


def _set_environment(instructions: Instructions) -> None:
    sys.path[:] = instructions.sys_path
    os.environ.pop("PYTHONPATH", None)
    if instructions.python_path is not None:
        os.environ["PYTHONPATH"] = instructions.python_path


def _load() -> Report:
    try:
        import_module("django").setup()
        import_module("plugspace_queue.worker.executors.child")
        _close_connections()
    except BaseException:
        return Report(pid=os.getpid(), error=traceback.format_exc()[-LONGEST:])
    # What is loaded stays: a collection in a child would copy its pages.
    gc.collect()
    gc.freeze()
    return Report(pid=os.getpid(), threads=_threads())


def _close_connections() -> None:
    """Children must not share a connection that an app opened while it was loaded."""
    for connection in import_module("django.db").connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            # Its pool keeps connections, and threads.
            connection.close_pool()


def _threads() -> int:
    """Threads of this process, those that libraries start outside of Python too."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


if VARIABLE in os.environ:
    main(Instructions(**json.loads(os.environ.pop(VARIABLE))))
