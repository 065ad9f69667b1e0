"""Who of many that ask for events has its turn: fair between callers, bounded for polls.

An ASGI server gives each request a thread, and each thread takes connections of its own: hundreds
that come at once, as after a restart, would use up those of the pool and of PostgreSQL. So a few
have their turn at once. A turn comes before the caller is known, so callers are told apart by what
they came with; what an organization may take of the turns for polls is counted afterwards.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from plugspace_queue.api.caps import Credential, Holder
from plugspace_queue.errors import TooManyStreams, Unavailable

PLACES = 16
"""Requests of one process that look at rows and Redis at once; further ones wait for their turn."""

SHARE = 6
"""Turns that requests with the same credentials have at once.

Few more than POLLS_OF_ONE: what runs beside another's request slows it down, too.
"""

POLLS, POLLS_OF_ONE = 12, 4
"""Polls that read events at once, in all and of one organization: some turns stay for openings."""

COMES_AGAIN = 1.0
"""Seconds after which a poll that is refused may come again; a poll is short."""


class Turns:
    """A bounded number of turns; whoever waits is served in rotation, not in order of arrival."""

    def __init__(self, places: int, share: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._share = share
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a turn, and hold it; `name` says whose it is."""
        ticket = threading.Event()
        with self._lock:
            self._waiting.setdefault(name, deque()).append(ticket)
            self._admit()
        try:
            ticket.wait()
            yield
        finally:
            with self._lock:
                self._leave(name, ticket)
                self._admit()

    def _leave(self, name: str, ticket: threading.Event) -> None:
        if not ticket.is_set():
            # The wait was interrupted.
            self._waiting[name].remove(ticket)
            if not self._waiting[name]:
                del self._waiting[name]
            return
        self._free += 1
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]

    def _admit(self) -> None:
        """Give free turns to the first of each name in rotation, but none above its share."""
        while self._free and (name := self._next()) is not None:
            line = self._waiting.pop(name)
            line.popleft().set()
            if line:
                self._waiting[name] = line
            self._free -= 1
            self._held[name] += 1

    def _next(self) -> str | None:
        return next((name for name in self._waiting if self._held[name] < self._share), None)


turns = Turns(PLACES, SHARE)

_lock = threading.Lock()
_polls: Counter[str | Credential] = Counter()
"""Polls that read events now, by organization; those of staff by user."""


@contextmanager
def polling(holder: Holder) -> Iterator[None]:
    """A place for a poll. Raises TooManyStreams, or Unavailable when others have all of them."""
    whose = holder.credential if holder.organization_id is None else holder.organization_id
    with _lock:
        _refuse(whose)
        _polls[whose] += 1
    try:
        yield
    finally:
        with _lock:
            _polls[whose] -= 1
            if not _polls[whose]:
                del _polls[whose]


def _refuse(whose: str | Credential) -> None:
    if _polls[whose] >= POLLS_OF_ONE:
        name = "user" if isinstance(whose, Credential) else "organization"
        raise TooManyStreams(
            f"This {name} has {POLLS_OF_ONE} polls of events answered at once, as many as it may "
            "in one process; ask again when one is answered, or listen to a stream.",
            retry_after=COMES_AGAIN,
            limit=POLLS_OF_ONE,
            limit_of=name,
        )
    if _polls.total() >= POLLS:
        raise Unavailable("This server answers as many polls at once as it can; try again soon.")
