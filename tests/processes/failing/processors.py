"""ARCHITECT fails in a thread, DESIGN on the event loop, CODE in a child, ANALYZE with its child,
DEPLOY twice by a service that is away, EXPORT by its time-out."""

import os
import signal
import threading
from typing import Any

from plugspace_queue import errors, processor, signals


def tell(task_id: str, exception: BaseException, will_retry: bool, **kwargs: Any) -> None:
    """One line per signal, on the worker's standard output."""
    name = type(exception).__name__
    print(f"signal {os.getpid()} {task_id} {name} {will_retry}", flush=True)


signals.task_attempt_failed.connect(tell)


@processor("ARCHITECT", output=Any, replace=True)
def architect(context: Any) -> Any:
    in_a_thread()


@processor("DESIGN", output=Any, replace=True)
async def design(context: Any) -> Any:
    in_a_coroutine()


@processor("CODE", output=Any, replace=True, isolation="process")
def code(context: Any) -> Any:
    in_a_child()


@processor("ANALYZE", output=Any, replace=True, isolation="process")
def analyze(context: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


@processor("DEPLOY", output=Any, replace=True)
def deploy(context: Any) -> Any:
    if context.attempt < 3:
        raise errors.ExternalServiceError("busy")
    return {"attempt": context.attempt}


@processor("EXPORT", output=Any, replace=True, timeout=0.5)
def export(context: Any) -> Any:
    while True:
        linger()


def in_a_thread() -> None:
    raise ValueError("in a thread")


def in_a_coroutine() -> None:
    raise ValueError("in a coroutine")


def in_a_child() -> None:
    raise ValueError("in a child")


def linger() -> None:
    threading.Event().wait(0.02)
