"""Counts what the gates refuse, by code."""

from collections.abc import Iterator
from contextlib import contextmanager

from plugspace_queue import metrics
from plugspace_queue.errors import QueueError


@contextmanager
def counted() -> Iterator[None]:
    """Count the error that refuses a submit or a retry, and let it go on."""
    try:
        yield
    except QueueError as error:
        metrics.count(metrics.REFUSED, error.code)
        raise
