"""Streams outlive the request that opened them: what granted them is looked at again and again.

One thread a process asks for all open streams at once, with a query or two for each kind of
credential, however many streams there are.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from django.contrib.auth import get_user_model
from django.db import Error, connections
from django.utils import timezone

from plugspace_queue.api import authentication
from plugspace_queue.api.caps import Holder, Kind
from plugspace_queue.errors import OrganizationSuspended
from plugspace_queue.models import ApiKey, Membership, Organization

logger = logging.getLogger("plugspace_queue.api")

INTERVAL, LEAST_PAUSE = 1.0, 0.25
"""Seconds from one look to the next, and between them: what is revoked ends streams within five."""

AT_ONCE, PAUSE, SPREAD = 4, 0.01, 1.5
"""Streams that are ended in one go, seconds until the next ones are, and seconds for all of them.

What is revoked during a look waits for its end and for the next look: SPREAD counts twice.
"""

Granted = Callable[[Collection[Holder]], set[Holder]]


def refuse_suspended(holder: Holder) -> None:
    """A suspended organization opens no stream. Raises OrganizationSuspended."""
    suspended = Organization.objects.filter(pk=holder.organization_id, is_suspended=True)
    if holder.organization_id is not None and suspended.exists():
        raise OrganizationSuspended(
            "This organization is suspended: it is told nothing as it happens, but may read pages."
        )


def granted(holders: Collection[Holder]) -> set[Holder]:
    """Those of them whose streams may stay open."""
    by_kind: dict[Kind, list[Holder]] = defaultdict(list)
    for holder in holders:
        by_kind[holder.credential.kind].append(holder)
    return {holder for kind, some in by_kind.items() for holder in _GRANTED[kind](some)}


def _keys(holders: Collection[Holder]) -> set[Holder]:
    rows = ApiKey.objects.valid(timezone.now()).filter(
        pk__in=[holder.credential.id for holder in holders], organization__is_suspended=False
    )
    good = {
        pk for pk, scopes in rows.values_list("pk", "scopes") if authentication.key_may_read(scopes)
    }
    return {holder for holder in holders if holder.credential.id in good}


def _members(holders: Collection[Holder]) -> set[Holder]:
    rows = Membership.objects.select_related("user").filter(
        user__in={holder.credential.id for holder in holders},
        organization__in={holder.organization_id for holder in holders},
        organization__is_suspended=False,
    )
    good = {(row.user_id, row.organization_id) for row in rows if authentication.may_read(row)}
    return {h for h in holders if (h.credential.id, h.organization_id) in good}


def _staff(holders: Collection[Holder]) -> set[Holder]:
    # Permissions are asked user by user: they are the affair of the project's backends.
    users = get_user_model()._default_manager.filter(
        pk__in={holder.credential.id for holder in holders}
    )
    good = {user.pk for user in users if user.is_active and authentication.sees_all(user)}
    return {holder for holder in holders if holder.credential.id in good}


_GRANTED: Mapping[Kind, Granted] = {"key": _keys, "member": _members, "staff": _staff}


def leave_databases() -> None:
    """Close this thread's connections: it lives on for long and asks seldom."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class _Watch(threading.Thread):
    """Looks after open streams as long as there are any."""

    def __init__(self) -> None:
        super().__init__(name="plugspace-grants", daemon=True)
        self.done = threading.Event()

    def run(self) -> None:
        pause = INTERVAL
        while not self.done.wait(pause):
            begun = time.monotonic()
            try:
                self._look()
            except Error:
                # They stay open: cut off, all would come again at once and find no database.
                logger.warning("open streams could not be looked after: no database")
            except Exception:
                logger.exception("open streams could not be looked after; it is tried again")
            finally:
                leave_databases()
            pause = max(INTERVAL - (time.monotonic() - begun), LEAST_PAUSE)

    def _look(self) -> None:
        with _lock:
            watched = list(_watched.values())
        good = granted({holder for holder, _ in watched})
        self._end([end for holder, end in watched if holder not in good])

    def _end(self, ends: Sequence[Callable[[], object]]) -> None:
        """End streams a few at a time: each is work for its process, which also serves others."""
        groups = [ends[start : start + AT_ONCE] for start in range(0, len(ends), AT_ONCE)]
        for group in groups:
            for end in group:
                # Its loop may be closed by now.
                with suppress(RuntimeError):
                    end()
            self.done.wait(min(PAUSE, SPREAD / len(groups)))


_lock = threading.Lock()
_watched: dict[object, tuple[Holder, Callable[[], object]]] = {}
_watch: _Watch | None = None


def watch(holder: Holder, end: Callable[[], object]) -> Callable[[], None]:
    """Call `end`, in a thread, when the holder's grant has ended; the answer stops that."""
    global _watch
    ticket = object()
    with _lock:
        if _watch is None:
            made = _Watch()
            # A process that has no thread left raises here; the next stream tries again.
            made.start()
            _watch = made
        _watched[ticket] = holder, end
    return lambda: _forget(ticket)


def _forget(ticket: object) -> None:
    global _watch
    with _lock:
        _watched.pop(ticket, None)
        if not _watched and _watch is not None:
            _watch.done.set()
            _watch = None
