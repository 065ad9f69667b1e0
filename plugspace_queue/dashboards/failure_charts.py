"""Failures in a time as bars that the server draws, and as a table with the same counts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.utils import timezone

from plugspace_queue.dashboards.time_ranges import TimeRange, moment_text

HEIGHT = 100
"""Of the drawing; it is as wide as it has buckets."""

TICKS = 4
"""Parts into which the labels divide the time."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A part of a chart's time, as a row of its table."""

    start: datetime
    failures: int
    query: str
    """Of the address for this part alone."""


@dataclass(frozen=True, kw_only=True)
class FailureChart:
    """Failures in a time as bars, and as a table."""

    time: TimeRange
    counts: list[int]

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def peak(self) -> int:
        return max(self.counts, default=0)

    @property
    def width(self) -> int:
        return len(self.counts)

    @property
    def bars(self) -> str:
        """The path of an SVG with all bars."""
        peak = max(self.peak, 1)
        heights = [-(-count * HEIGHT // peak) for count in self.counts]
        parts = [f"M{at}.1 {HEIGHT}v-{h}h.8v{h}z" for at, h in enumerate(heights) if h]
        return "".join(parts)

    @property
    def edges(self) -> str:
        """Where buckets begin and the last one ends, for a script."""
        return " ".join(map(moment_text, [*self.time.edges(), self.time.end]))

    @property
    def ticks(self) -> list[str]:
        """Labels of the time, from its start to its end at equal distances."""
        length = self.time.end - self.time.start
        form = "%H:%M" if length <= timedelta(days=1) else "%m-%d %H:%M"
        moments = [self.time.start + length * part / TICKS for part in range(TICKS + 1)]
        return [timezone.localtime(moment).strftime(form) for moment in moments]

    @property
    def buckets(self) -> list[Bucket]:
        """Those with failures, the newest first."""
        found = []
        for start, count in zip(self.time.edges(), self.counts, strict=True):
            end = moment_text(start + self.time.size)
            query = urlencode({"from": moment_text(start), "to": end})
            found.append(Bucket(start=start, failures=count, query=query))
        return [bucket for bucket in reversed(found) if bucket.failures]

    @property
    def peak_at(self) -> datetime:
        """The start of the bucket with most failures."""
        return self.time.edges()[self.counts.index(self.peak)]
