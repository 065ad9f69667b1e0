"""TCP keepalive of a database connection: a server that vanished is noticed within seconds."""

import contextlib
import os
import socket
from typing import Any

from plugspace_queue.conf import get_settings

SHORTEST = 1
"""Seconds until a silent server is asked, and between two further asks."""

ASKS = 2


def keep_alive(connection: Any) -> None:
    """Notice within a quarter of a lease that the other end of this connection is gone.

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
