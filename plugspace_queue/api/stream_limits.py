"""Limits of event streams and polls in one process: fair between callers, bounded in all.

Three limits: streams that are open (MAX_STREAMS and its shares), requests for events that run at
the same time (turns), polls that read events at the same time. They are counted in the process,
so what a process holds ends with it.

Turns are needed because an ASGI server gives each request a thread, and each thread opens
connections of its own: hundreds of requests at once, as after a restart, would use up the
connections of the pool and of PostgreSQL. A turn is taken before the caller is known, so callers
are told apart by the credentials that they sent; polls are counted by organization afterwards.
"""

import math
import threading
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.utils.translation import gettext as _

from plugspace_queue.api.authentication import Credential, StreamHolder
from plugspace_queue.conf import AppSettings, get_settings
from plugspace_queue.errors import TooManyStreams, Unavailable

STREAM_RETRY = 10.0
"""Seconds after which a refused stream may be tried again; when one is closed is unknown."""

POLL_RETRY = 1.0
"""Seconds after which a refused poll may be tried again; polls are short."""

TURNS = 16
"""Requests for events of one process that use the database and Redis at the same time."""

TURNS_PER_CREDENTIAL = 6
"""Turns of one credential; few more than POLLS_PER_OWNER, since each slows down the others."""

POLLS, POLLS_PER_OWNER = 12, 4
"""Polls that read events at the same time, in all and of one owner; the rest of the turns stays
free for new streams."""

K = TypeVar("K")

_lock = threading.Lock()
_released: deque[StreamHolder] = deque()
_open: Counter[str | Credential] = Counter()
"""Open streams by organization and by credential."""
_total = 0
_polls: Counter[str | Credential] = Counter()
"""Polls that read events now, by organization; those of staff by user."""


class StreamClaim:
    """The place of one open stream, until it is released or garbage collected.

    The latter happens to responses that never begin because the client has disconnected.
    """

    def __init__(self, holder: StreamHolder) -> None:
        self.holder = holder
        # The garbage collector may run this at any moment, so it takes no lock.
        self.release = weakref.finalize(self, _released.append, holder)
        self.release.atexit = False


def claim(holder: StreamHolder) -> StreamClaim:
    """A place for one more stream. Raises TooManyStreams, or Unavailable when there is none."""
    global _total
    with _lock:
        _subtract_released()
        _check_stream(holder, get_settings())
        made = StreamClaim(holder)
        _total += 1
        _open.update(_counted_as(holder))
    return made


def open_streams() -> int:
    """The number of open streams of this process."""
    with _lock:
        _subtract_released()
        return _total


@contextmanager
def poll(holder: StreamHolder) -> Iterator[None]:
    """A place for a poll. Raises TooManyStreams, or Unavailable when others have all of them."""
    owner = holder.owner
    with _lock:
        _check_poll(owner)
        _polls[owner] += 1
    try:
        yield
    finally:
        with _lock:
            _subtract(_polls, owner)


class Turns:
    """A bounded number of turns, given to the waiting names in rotation and not by arrival."""

    def __init__(self, places: int, share: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._share = share
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a turn of this name, and hold it."""
        granted = threading.Event()
        with self._lock:
            self._waiting.setdefault(name, deque()).append(granted)
            self._grant()
        try:
            granted.wait()
            yield
        finally:
            with self._lock:
                self._leave(name, granted)
                self._grant()

    def _leave(self, name: str, granted: threading.Event) -> None:
        if granted.is_set():
            self._free += 1
            _subtract(self._held, name)
            return
        # The wait was interrupted.
        self._waiting[name].remove(granted)
        if not self._waiting[name]:
            del self._waiting[name]

    def _grant(self) -> None:
        """Give free turns to the first request of each name in rotation, up to its share."""
        while self._free and (name := self._next()) is not None:
            requests = self._waiting.pop(name)
            requests.popleft().set()
            if requests:
                self._waiting[name] = requests
            self._free -= 1
            self._held[name] += 1

    def _next(self) -> str | None:
        return next((name for name in self._waiting if self._held[name] < self._share), None)


turns = Turns(TURNS, TURNS_PER_CREDENTIAL)


def _subtract_released() -> None:
    global _total
    while _released:
        for name in _counted_as(_released.popleft()):
            _subtract(_open, name)
        _total -= 1


def _counted_as(holder: StreamHolder) -> set[str | Credential]:
    return {holder.credential, holder.owner}


def _subtract(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _check_stream(holder: StreamHolder, conf: AppSettings) -> None:
    if _open[holder.credential] >= conf.max_streams_per_key:
        kind = "key" if holder.credential.kind == "key" else "user"
        raise _too_many_streams(kind, conf.max_streams_per_key)
    is_organization = holder.owner != holder.credential
    if is_organization and _open[holder.owner] >= conf.max_streams_per_organization:
        raise _too_many_streams("organization", conf.max_streams_per_organization)
    if _total >= conf.max_streams:
        raise Unavailable(_("This server has no room for another stream; try again soon."))
    reserve = _reserve(conf)
    if _total >= conf.max_streams - reserve and _open[holder.owner] >= _few(reserve):
        raise Unavailable(
            _(
                "This server keeps its last streams for organizations with few open streams; "
                "try again soon."
            )
        )


def _reserve(conf: AppSettings) -> int:
    """Streams that are kept for owners with few; at least one, but never all."""
    return min(math.ceil(conf.max_streams * conf.streams_reserved), conf.max_streams - 1)


def _few(reserve: int) -> int:
    """How many streams an owner may have open when it opens one out of the reserve.

    >>> _few(100), _few(1)
    (10, 1)
    """
    return max(reserve // 10, 1)


def _too_many_streams(kind: str, limit: int) -> TooManyStreams:
    return TooManyStreams(
        _("This %(kind)s has %(limit)d open streams, the limit in one process; close some.")
        % {"kind": kind, "limit": limit},
        retry_after=STREAM_RETRY,
        limit=limit,
        limit_of=kind,
    )


def _check_poll(owner: str | Credential) -> None:
    if _polls[owner] >= POLLS_PER_OWNER:
        kind = "user" if isinstance(owner, Credential) else "organization"
        raise TooManyStreams(
            _(
                "This %(kind)s has %(limit)d polls of events running, the limit in one process; "
                "wait for one of them, or open a stream."
            )
            % {"kind": kind, "limit": POLLS_PER_OWNER},
            retry_after=POLL_RETRY,
            limit=POLLS_PER_OWNER,
            limit_of=kind,
        )
    if _polls.total() >= POLLS:
        raise Unavailable(_("This server answers as many polls as it can; try again soon."))
