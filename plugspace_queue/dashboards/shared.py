"""One read for all who look at the same time: pages that many people leave open cost one."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH_FOR = 1.0
"""Seconds a read is good for."""


class Shared(Generic[T]):
    """The last answer of `read` in this process; who asks while it is made waits for it."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._value: T | None = None

    def get(self) -> T:
        """An answer that is at most FRESH_FOR seconds old; an error is nobody's answer."""
        with self._lock:
            if self._value is None or time.monotonic() - self._read_at > FRESH_FOR:
                self._value = self._read()
                self._read_at = time.monotonic()
            return self._value

    def forget(self) -> None:
        """Read anew when asked next."""
        with self._lock:
            self._value = None
