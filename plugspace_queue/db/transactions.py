"""Transactions with a short lock timeout, and the classification of database errors."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

from plugspace_queue.conf import get_settings
from plugspace_queue.db.recordset import prepare_for_rows

LOCK_TIMEOUT = "200ms"
"""The default lock timeout."""

LOCKED = frozenset({"55P03", "40P01"})
"""SQLSTATE of a lock timeout and of a deadlock."""


@contextmanager
def lock_timeout(timeout: str = LOCK_TIMEOUT) -> Iterator[None]:
    """A transaction whose error satisfies `is_locked` when a row stays locked for `timeout`."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            prepare_for_rows(connection, timeout).take()
        yield


def is_locked(error: OperationalError) -> bool:
    """Whether another transaction's lock caused the error."""
    return getattr(error.__cause__, "sqlstate", None) in LOCKED


CANCELLED = "57014"
"""SQLSTATE of a statement that was cancelled, as by `statement_timeout`."""


def is_too_slow(error: OperationalError) -> bool:
    """Whether a statement took longer than it may."""
    return getattr(error.__cause__, "sqlstate", None) == CANCELLED


ROWS_FAULT = ("22", "23", "54", "P0")
"""Classes of SQLSTATE: data, integrity, program limit exceeded, raised by a trigger."""


def is_of_a_row(error: Exception) -> bool:
    """Whether the written data caused the error, and not the state of the database or schema."""
    if not isinstance(error, DatabaseError | InterfaceError):
        # The driver could not send the value, for example a number beyond 64 bits.
        return True
    code = getattr(error.__cause__, "sqlstate", None) or ""
    return isinstance(error, DataError | IntegrityError) or code.startswith(ROWS_FAULT)


SHORTEST = 1
"""Least seconds until the first TCP keepalive probe, and between probes."""

ASKS = 2


def keep_alive(connection: Any) -> None:
    """Detect within a quarter of a lease that the other end of this connection is gone.

    For the thread that records attempts: without it, it may wait for hours. Connections that are
    no TCP, and systems without these options, are left as they are.
    """
    if connection.vendor != "postgresql":
        return
    with contextlib.suppress(OSError), socket.socket(fileno=_file_of(connection)) as end:
        if end.family in (socket.AF_INET, socket.AF_INET6):
            _set(end, get_settings().lease / 4)


def _file_of(connection: Any) -> int:
    # A copy: closing the socket object must not close the connection.
    return os.dup(connection.connection.pgconn.socket)


def _set(end: socket.socket, seconds: float) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pause = max(round(seconds / (ASKS + 1)), SHORTEST)
    options = {
        "TCP_KEEPIDLE": pause,
        "TCP_KEEPINTVL": pause,
        "TCP_KEEPCNT": ASKS,
        # What was sent and is not acknowledged counts as well.
        "TCP_USER_TIMEOUT": max(round(seconds * 1000), 1000 * SHORTEST),
    }
    for name, value in options.items():
        if hasattr(socket, name):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
