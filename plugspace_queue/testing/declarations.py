"""`declarations`: kinds that exist in one test."""

from collections.abc import Iterator
from contextlib import contextmanager

from plugspace_queue.domain import kinds


@contextmanager
def declarations() -> Iterator[None]:
    """Allow `workflow_kind` within, and forget at the end what it declared.

    As a context manager or a decorator. Workers of other processes do not know these kinds.
    """
    with kinds.open_for_declarations():
        yield
