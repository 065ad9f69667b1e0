"""One read for all pages that are open at the same time."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH_FOR = 1.0
"""Seconds for which a read is used again."""


class TimedCache(Generic[T]):
    """The last result of `read` in this process; callers that ask while it is made wait for it."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._value: T | None = None

    def get(self) -> T:
        """A result that is at most FRESH_FOR seconds old; an error is not kept."""
        with self._lock:
            if self._value is None or time.monotonic() - self._read_at > FRESH_FOR:
                self._value = self._read()
                self._read_at = time.monotonic()
            return self._value

    def clear(self) -> None:
        """Make the next call read again."""
        with self._lock:
            self._value = None
