"""What follows a commit, in a test whose transaction never commits.

Inside a transaction (a `TestCase`, or a caller's `atomic`) what the product registered with
`on_commit` is run at once, with Redis cut off: it must not get rows that are not committed.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from plugspace_queue.broker.connection import cut_off
from plugspace_queue.models import Task

logger = logging.getLogger("plugspace_queue.testing")


def is_uncommitted() -> bool:
    """Whether rows written now are not visible to other connections yet."""
    return _connection().in_atomic_block


@contextlib.contextmanager
def committed() -> Iterator[None]:
    """Run what is registered inside with `on_commit` at the end, whether there is a commit or not.

    It is run once: a later commit does not run it again.
    """
    connection = _connection()
    if not connection.in_atomic_block:
        yield
        return
    start = len(connection.run_on_commit)
    yield
    with cut_off():
        while len(connection.run_on_commit) > start:
            entry: Any = connection.run_on_commit.pop(start)
            _, callback, is_robust = entry
            _call(callback, is_robust)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Make Redis unavailable inside a transaction."""
    with cut_off() if is_uncommitted() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Inside a transaction: a savepoint, so that a broken statement breaks only what is inside.

    Otherwise nothing, as in a worker, where each statement of a processor commits.
    """
    connection = _connection()
    if not connection.in_atomic_block:
        yield
        return
    block = transaction.atomic(using=connection.alias)
    # As around a test: `atomic(durable=True)` inside is not refused.
    block._from_testcase = True  # type: ignore[attr-defined]
    with contextlib.suppress(DatabaseError), block:
        yield


def _call(callback: Callable[[], object], is_robust: bool) -> None:
    try:
        callback()
    except Exception:
        if not is_robust:
            raise
        logger.exception("%r failed after a commit", callback)


def _connection() -> BaseDatabaseWrapper:
    return connections[router.db_for_write(Task)]
