"""Times that a page looks at: from a moment to another or until now, in buckets of equal length."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

LAST: Mapping[str, timedelta] = {
    "15m": 15 * MINUTE,
    "1h": HOUR,
    "6h": 6 * HOUR,
    "24h": DAY,
    "7d": 7 * DAY,
}
"""Times until now, by the word in addresses."""

DEFAULT = "1h"

LONGEST = 14 * DAY
"""Minutes of failures are kept so long."""

PARAMETERS = ("last", "from", "to")

FORMAT = "%Y-%m-%dT%H:%M"
"""Of a field of the type datetime-local, in the time zone of the page."""

SIZES = (
    (2 * HOUR, MINUTE),
    (10 * HOUR, 5 * MINUTE),
    (5 * DAY, HOUR),
    (LONGEST, 3 * HOUR),
)
"""Longest time, and the length of its buckets: at most 121 of them."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """From `start` on and before `end`, both on the edge of a bucket."""

    start: datetime
    end: datetime
    size: timedelta
    """Of a bucket."""
    last: str = ""
    """The word of a time until now; empty for one between two moments."""

    @property
    def unit(self) -> str:
        """What counts are read by, to be added up to buckets: "minute" or "hour"."""
        return "hour" if self.size >= HOUR else "minute"

    @property
    def words(self) -> str:
        """For people: `in the last 1 h`, `from 2026-12-01 14:00 to 14:20`."""
        if self.last:
            return _("in the last %(span)s") % {"span": span_words(self.last)}
        start, end = timezone.localtime(self.start), timezone.localtime(self.end)
        until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
        words = {"start": f"{start:%Y-%m-%d %H:%M}", "end": until}
        return _("from %(start)s to %(end)s") % words

    @property
    def query(self) -> dict[str, str]:
        """The parameters of an address for this time."""
        if self.last:
            return {"last": self.last}
        return {"from": moment_text(self.start), "to": moment_text(self.end)}

    def edges(self) -> list[datetime]:
        """Where the buckets begin."""
        count = -(-(self.end - self.start) // self.size)
        return [self.start + self.size * number for number in range(count)]

    def buckets(self, counted: Iterable[tuple[datetime, int]]) -> list[int]:
        """The sum of each bucket, of counts at moments within."""
        sums = [0] * len(self.edges())
        for moment, count in counted:
            sums[min(max((moment - self.start) // self.size, 0), len(sums) - 1)] += count
        return sums


def until_now(word: str, now: datetime) -> TimeRange:
    """The time that one of the words of LAST names."""
    size = _size(LAST[word])
    # The bucket that has begun is the last one.
    end = _floor(now, size) + size
    return TimeRange(start=end - LAST[word], end=end, size=size, last=word)


def between(start: datetime, end: datetime) -> TimeRange:
    """From one moment to another, moved outwards to the edges of buckets; at most LONGEST."""
    start, end = min(start, end), max(start, end)
    start = max(start, end - LONGEST)
    size = _size(end - start)
    first, last = _floor(start, size), _floor(end, size)
    if last < end or last == first:
        last += size
    return TimeRange(start=first, end=last, size=size)


def requested(query: Mapping[str, str], now: datetime) -> TimeRange | None:
    """The time that an address names, the default one when it names none; None if not valid.

    A value that is not valid never means "the default": an action for what the page shows may
    follow.
    """
    given = {name: query[name].strip() for name in PARAMETERS if query.get(name, "").strip()}
    word = given.get("last", DEFAULT)
    moments = {name: moment_of(given[name]) for name in ("from", "to") if name in given}
    if word not in LAST or None in moments.values():
        return None
    start, end = moments.get("from"), moments.get("to")
    if start is not None and end is not None:
        return between(start, end)
    if start is not None:
        return between(start, now)
    return until_now(word, now) if end is None else between(end - HOUR, end)


def moment_of(text: str) -> datetime | None:
    """The moment that a field or an address names, or None."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 2000 <= moment.year <= 2200:
        return None
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def moment_text(moment: datetime) -> str:
    """The moment as a field and an address hold it."""
    return timezone.localtime(moment).strftime(FORMAT)


def span_words(word: str) -> str:
    """One of the words of LAST for people: `15 min`, `1 h`, `7 d`."""
    return f"{word[:-1]} {word[-1].replace('m', 'min')}"


def _size(length: timedelta) -> timedelta:
    return next((size for longest, size in SIZES if length <= longest), SIZES[-1][1])


def _floor(moment: datetime, size: timedelta) -> datetime:
    return moment - (moment - EPOCH) % size
