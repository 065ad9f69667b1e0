"""One processor whose prompt says what to do: `sleep 0.5`, `kill`, `fail`, `hold`, `pid`, …"""

import asyncio
import ctypes
import os
import signal
import threading
import time
from typing import Any

from django.db import connection

from plugspace_queue import errors, processor
from tests.processes.app import receivers

receivers.connect()


@processor("ARCHITECT", output=Any, replace=True)
def architect(context: Any) -> Any:
    word, _, rest = context.input.prompt.partition(" ")
    return STEPS[word](context, rest)


@processor("DESIGN", output=Any, replace=True)
async def design(context: Any) -> Any:
    context.report_progress(50, stage="half")
    await asyncio.sleep(0.05)
    return {"pid": os.getpid()}


@processor("CODE", output=Any, replace=True, isolation="process")
def code(context: Any) -> Any:
    context.report_progress(10)
    context.log("in a child")
    context.record_usage(tokens=5)
    return {"pid": os.getpid(), "parent": os.getppid(), "results": sorted(context.results)}


@processor("ANALYZE", output=Any, replace=True, isolation="process")
def analyze(context: Any) -> Any:
    """Work in a process of its own until that ends."""
    context.report_progress(1)
    threading.Event().wait(60)


def sleep(context: Any, rest: str) -> Any:
    context.report_progress(1)
    threading.Event().wait(float(rest))
    return {"slept": float(rest), "attempt": context.attempt}


def report(context: Any, rest: str) -> Any:
    """Report progress and end when the worker has told it."""
    context.report_progress(50, stage="half")
    receivers.wait_for("taskProgress", context.task_id)


def hold(context: Any, rest: str) -> Any:
    """Work until told to stop."""
    while True:
        context.check_cancelled()
        threading.Event().wait(0.02)


def kill(context: Any, rest: str) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_once(context: Any, rest: str) -> Any:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempt": context.attempt, "pid": os.getpid()}


def stall_once(context: Any, rest: str) -> Any:
    """The first attempt works until its process ends."""
    return hold(context, rest) if context.attempt == 1 else {"attempt": context.attempt}


def tell_time_once_stalled(context: Any, rest: str) -> Any:
    """As `stall-once`; the next attempt says when it began."""
    began = time.time()
    return hold(context, rest) if context.attempt == 1 else {"at": began}


def linger_once(context: Any, rest: str) -> Any:
    """The first attempt hears nothing for a minute."""
    context.report_progress(1)
    if context.attempt == 1:
        threading.Event().wait(60)
    return {"attempt": context.attempt}


def unwrite_once(context: Any, rest: str) -> Any:
    """The first attempt ends the thread that writes rows, as a fault in it would."""
    if context.attempt == 1:
        (loop,) = [t for t in threading.enumerate() if t.name == "plugspace-attempts"]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(loop.ident or 0), ctypes.py_object(SystemExit)
        )
    return {"attempt": context.attempt}


def fail(context: Any, rest: str) -> Any:
    raise errors.ValidationFailed(rest or "as asked")


def busy_once(context: Any, rest: str) -> Any:
    """The first attempt fails, so that a retry follows after the backoff."""
    if context.attempt == 1:
        raise errors.ExternalServiceError("busy")
    return {"attempt": context.attempt}


def pid(context: Any, rest: str) -> Any:
    return {"pid": os.getpid()}


def query(context: Any, rest: str) -> Any:
    """A query that lasts so many seconds."""
    context.report_progress(1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [float(rest)])
    return {"thread": threading.get_ident()}


def grow(context: Any, rest: str) -> Any:
    """Keep so many MiB for good, and work on for longer than a look at the memory takes."""
    # Bit by bit: one large piece would hold up all threads of the worker.
    KEPT.extend(os.urandom(1024) * 1024 for _ in range(int(rest)))
    threading.Event().wait(2.5)
    return {"pid": os.getpid()}


KEPT: list[bytes] = []

STEPS = {
    "sleep": sleep,
    "report": report,
    "hold": hold,
    "kill": kill,
    "kill-once": kill_once,
    "stall-once": stall_once,
    "tell-time-once-stalled": tell_time_once_stalled,
    "linger-once": linger_once,
    "unwrite-once": unwrite_once,
    "fail": fail,
    "busy-once": busy_once,
    "pid": pid,
    "query": query,
    "grow": grow,
}
