"""Ctrl-C, SIGTERM and a closed terminal as one KeyboardInterrupt, held back where it would hurt."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Interrupts:
    """Raises KeyboardInterrupt once; further signals are swallowed, so that cleaning up goes on."""

    def __init__(self) -> None:
        self._is_held = False
        self._is_pending = False
        self._was_raised = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals over, and give them back at the end."""
        before: dict[int, Any] = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block that is not torn apart; what came meanwhile is raised at its end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            if self._is_pending:
                self._raise()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._is_pending = True
        else:
            self._raise()

    def _raise(self) -> None:
        self._is_pending = False
        if not self._was_raised:
            self._was_raised = True
            raise KeyboardInterrupt
