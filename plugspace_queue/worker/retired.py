"""Attempts that were given up and whose calls have not come back: each keeps its slot."""

import time

from plugspace_queue.processing.run import Run
from plugspace_queue.worker.table import Held


class Retired:
    """Who keeps a slot, and since when; used by ticker, pump and slots."""

    def __init__(self) -> None:
        self._since: dict[Run, tuple[Held, float]] = {}

    def add(self, held: Held, run: Run) -> None:
        self._since[run] = (held, time.monotonic())
        # It may have come back while it was being given up.
        if run.is_returned:
            self.remove(run)

    def remove(self, run: Run) -> None:
        self._since.pop(run, None)

    def longer_than(self, seconds: float) -> list[tuple[Held, Run]]:
        """Those that were given up so long ago."""
        before = time.monotonic() - seconds
        return [(held, run) for run, (held, since) in list(self._since.items()) if since <= before]
