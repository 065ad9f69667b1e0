"""Stopping code that does not stop by itself: an exception raised in its thread."""

import contextlib
import ctypes
import threading


class Interrupted(BaseException):
    """Raised inside a processor that was told to stop and did not; not to be caught."""


def raise_in(thread_id: int) -> None:
    """Have the interpreter raise Interrupted in that thread at its next step."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(Interrupted)
    )


def absorb() -> None:
    """Take an interruption that may still be on its way, so that it does not hit the next run.

    Setting it once more replaces a pending one. Taking it back with NULL would leave CPython
    3.11's eval breaker on for good, which slows every thread (and hangs one that is profiled).
    """
    with contextlib.suppress(Interrupted):
        raise_in(threading.get_ident())
        while True:
            pass
