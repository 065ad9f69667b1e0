"""A finding is repaired when a second look, one lease after the first, finds the same."""

import contextlib
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from plugspace_queue.conf import get_settings
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.reading import again


def confirmed(
    findings: Iterable[Finding], now: datetime, wait: Callable[[float], object]
) -> list[Finding]:
    """Those that are still so after one lease, in their order. Raises Unavailable."""
    first = list(dict.fromkeys(findings))
    if not first:
        return []
    wait(get_settings().lease)
    still = again(first, now)
    return [finding for finding in first if finding in still]


class PendingFindings:
    """What was found once, until it is old enough for its second look."""

    MOST = 10_000
    """With more, the rest is found again in the next turn."""

    def __init__(self) -> None:
        self._since: dict[Finding, float] = {}

    def note(self, findings: Iterable[Finding]) -> None:
        """Remember when each was found first."""
        for finding in findings:
            if len(self._since) < self.MOST:
                self._since.setdefault(finding, time.monotonic())

    def confirmed(self, now: datetime) -> list[Finding]:
        """Those that are old enough and still so; the others of that age are forgotten."""
        oldest = time.monotonic() - get_settings().lease
        ripe = [finding for finding, since in self._since.items() if since <= oldest]
        confirmed: list[Finding] = []
        for queue in dict.fromkeys(finding.queue for finding in ripe):
            of_queue = [finding for finding in ripe if finding.queue == queue]
            # Of a queue that cannot be looked at now nothing is known: it is found again.
            with contextlib.suppress(Unavailable):
                still = again(of_queue, now)
                confirmed += [finding for finding in of_queue if finding in still]
        for finding in ripe:
            del self._since[finding]
        return confirmed
