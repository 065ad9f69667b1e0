"""How many streams, and later waiting answers, a process holds open for whom; none gets them all.

Counted in the process: each web process has MAX_STREAMS of its own, and what it holds open ends
with it.
"""

import math
import threading
import weakref
from collections import Counter, deque

from plugspace_queue.api.authentication import Credential, Holder
from plugspace_queue.conf import AppSettings, get_settings
from plugspace_queue.errors import TooManyStreams, Unavailable

COMES_AGAIN = 10.0
"""Seconds after which who holds too many may try again; nobody knows when it lets one go."""


class Claim:
    """One open stream of a holder, until it is released or nobody has the claim any more.

    The second is for answers that never begin: their client was gone before.
    """

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        # May be run by the garbage collector at any moment, so it takes no lock.
        self.release = weakref.finalize(self, _released.append, holder)
        self.release.atexit = False


_lock = threading.Lock()
_released: deque[Holder] = deque()
_open: Counter[str | Credential] = Counter()
"""Open streams by organization and by credential."""
_total = 0


def claim(holder: Holder) -> Claim:
    """A place for one more stream. Raises TooManyStreams, or Unavailable when there is none."""
    global _total
    with _lock:
        _settle()
        _refuse(holder, get_settings())
        made = Claim(holder)
        _total += 1
        _open.update(_names(holder))
    return made


def opened() -> int:
    """Streams that this process holds open."""
    with _lock:
        _settle()
        return _total


def _settle() -> None:
    """Take off the count what was released meanwhile."""
    global _total
    while _released:
        for name in _names(_released.popleft()):
            _open[name] -= 1
            if not _open[name]:
                del _open[name]
        _total -= 1


def _names(holder: Holder) -> list[str | Credential]:
    own = [] if holder.organization_id is None else [holder.organization_id]
    return [holder.credential, *own]


def _refuse(holder: Holder, conf: AppSettings) -> None:
    ours = holder.credential if holder.organization_id is None else holder.organization_id
    if _open[holder.credential] >= conf.max_streams_per_key:
        whose = "key" if holder.credential.kind == "key" else "user"
        raise _too_many(whose, conf.max_streams_per_key)
    if ours == holder.organization_id and _open[ours] >= conf.max_streams_per_organization:
        raise _too_many("organization", conf.max_streams_per_organization)
    if _total >= conf.max_streams:
        raise Unavailable("This server has no room for another stream; try again soon.")
    reserve = _reserve(conf)
    if _total >= conf.max_streams - reserve and _open[ours] >= _few(reserve):
        raise Unavailable(
            "This server keeps its last streams for organizations that hold few; try again soon."
        )


def _reserve(conf: AppSettings) -> int:
    """Streams that are kept for those who hold few; of a small number at least one."""
    return min(math.ceil(conf.max_streams * conf.streams_reserved), conf.max_streams - 1)


def _few(reserve: int) -> int:
    """How many streams one organization may hold when it opens one out of the reserve.

    >>> _few(100), _few(1)
    (10, 1)
    """
    return max(reserve // 10, 1)


def _too_many(whose: str, limit: int) -> TooManyStreams:
    return TooManyStreams(
        f"This {whose} holds {limit} streams open, as many as it may in one process; close some.",
        retry_after=COMES_AGAIN,
        limit=limit,
        limit_of=whose,
    )
