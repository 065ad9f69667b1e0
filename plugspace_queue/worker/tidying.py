"""What a processor leaves behind in its thread is cleared away before the next one comes."""

import logging
import os

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.domain.enums import Outcome
from plugspace_queue.processing import outcome
from plugspace_queue.processing.outcome import Ending, Failure

logger = logging.getLogger("plugspace_queue.worker")


def honest(ending: Ending) -> Ending:
    """The ending, or a failure when what it wrote is lost with a transaction it left open.

    Dropped here, so that no lock stays: the next processor would write into that transaction, and
    nobody would ever commit it.
    """
    left = [c for c in connections.all(initialized_only=True) if _is_open(c)]
    for connection in left:
        _drop(connection)
    if not left or ending.outcome is not Outcome.COMPLETE:
        return ending
    message = (
        f"The processor left a transaction open ({', '.join(c.alias for c in left)}); what it wrote"
        " there was rolled back."
    )
    return outcome.failed(Failure(code="INTERNAL_ERROR", message=message, retryable=False))


def drop_connections() -> None:
    """Let this thread's connections go, with what an interruption left half done on them.

    A query may still be under way, and a transaction block may never have been left: closing
    alone would not open a new one then.
    """
    for connection in connections.all(initialized_only=True):
        _drop(connection)


def end_if_forked(owner: int) -> None:
    """End the copy of a worker that a processor forked and let return."""
    if os.getpid() != owner:
        os._exit(0)


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    """In a block that was never left, or without autocommit, where each statement begins one."""
    if connection.connection is None:
        return False
    return connection.in_atomic_block or connection.autocommit != _expected(connection)


def _expected(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["AUTOCOMMIT"])


def _drop(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.close()
    except Exception:
        logger.warning("could not close %s after its processor", connection.alias)
    del connections[connection.alias]
