"""Transactions that do not wait long for rows that somebody else's long transaction holds, and
whose fault an error of the database is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

from plugspace_queue.db.recordset import prepare_for_rows

LOOK = "200ms"
"""How long a row is waited for that somebody holds."""

LOCKED = frozenset({"55P03", "40P01"})
"""SQLSTATE of a lock that was not got in time, and of a deadlock."""


@contextmanager
def lock_timeout(look: str = LOOK) -> Iterator[None]:
    """A transaction that raises an error that `is_locked` when it cannot have a row soon."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            prepare_for_rows(connection, look).take()
        yield


def is_locked(error: OperationalError) -> bool:
    """Whether it tells of a row that somebody else holds."""
    return getattr(error.__cause__, "sqlstate", None) in LOCKED


ROWS_FAULT = ("22", "23", "54", "P0")
"""Classes of SQLSTATE: data, integrity, a value too large, what a trigger raised."""


def is_of_a_row(error: Exception) -> bool:
    """Whether what is to be written causes it, and not the state of the database or its schema."""
    if not isinstance(error, DatabaseError | InterfaceError):
        # The driver cannot even send it, as a number beyond 64 bits.
        return True
    code = getattr(error.__cause__, "sqlstate", None) or ""
    return isinstance(error, DataError | IntegrityError) or code.startswith(ROWS_FAULT)
