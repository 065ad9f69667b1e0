"""Transactions that do not wait long for rows that somebody else's long transaction holds."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

from plugspace_queue.models.rowset import prepare_for_rows

LOOK = "200ms"
"""How long a row is waited for that somebody holds."""

LOCKED = frozenset({"55P03", "40P01"})
"""SQLSTATE of a lock that was not got in time, and of a deadlock."""


@contextmanager
def shortly(look: str = LOOK) -> Iterator[None]:
    """A transaction that raises an error that `is_locked` when it cannot have a row soon."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            prepare_for_rows(connection, look).take()
        yield


def is_locked(error: OperationalError) -> bool:
    """Whether it tells of a row that somebody else holds."""
    return getattr(error.__cause__, "sqlstate", None) in LOCKED
