"""A database that does not answer is `Unavailable` to callers, not a driver's exception."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError

from plugspace_queue.errors import Unavailable


@contextmanager
def database_needed() -> Iterator[None]:
    """Turn "locked", "cannot connect", "deadlock" and their like into Unavailable."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(
            "The database does not answer at the moment; nothing was stored, try again soon."
        ) from error
