"""Checks again and again whether the credentials of open streams still grant them.

A stream outlives the request that opened it. One thread of a process checks all open streams at
once, with one or two queries for each kind of credential, however many streams there are.
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
from django.utils.translation import gettext as _

from plugspace_queue.api import permissions
from plugspace_queue.api.authentication import CredentialKind, StreamHolder
from plugspace_queue.errors import OrganizationSuspended
from plugspace_queue.models import tenancy_queries

logger = logging.getLogger("plugspace_queue.api")

INTERVAL, MIN_PAUSE = 1.0, 0.25
"""Seconds from one check to the next, and between them; a revoked credential's streams end within
five seconds."""

AT_ONCE, PAUSE, SPREAD = 4, 0.01, 1.5
"""Streams that are ended at once, seconds until the next group, and seconds for all groups.

A credential that is revoked during a check waits for its end and the next one: SPREAD counts twice.
"""

GrantQuery = Callable[[Collection[StreamHolder]], set[StreamHolder]]


def refuse_suspended(holder: StreamHolder) -> None:
    """Raises OrganizationSuspended: a suspended organization opens no stream."""
    organization_id = holder.organization_id
    if organization_id is not None and tenancy_queries.is_suspended(organization_id):
        raise OrganizationSuspended(
            _("This organization is suspended: it may read pages of events but open no stream.")
        )


def still_granted(holders: Collection[StreamHolder]) -> set[StreamHolder]:
    """The holders whose streams may stay open."""
    by_kind: dict[CredentialKind, list[StreamHolder]] = defaultdict(list)
    for holder in holders:
        by_kind[holder.credential.kind].append(holder)
    return {holder for kind, some in by_kind.items() for holder in _QUERIES[kind](some)}


def _keys(holders: Collection[StreamHolder]) -> set[StreamHolder]:
    rows = tenancy_queries.valid_keys(timezone.now()).filter(
        pk__in=[holder.credential.id for holder in holders], organization__is_suspended=False
    )
    good = {
        pk for pk, scopes in rows.values_list("pk", "scopes") if permissions.key_may_view(scopes)
    }
    return {holder for holder in holders if holder.credential.id in good}


def _members(holders: Collection[StreamHolder]) -> set[StreamHolder]:
    rows = tenancy_queries.memberships_among(
        {holder.credential.id for holder in holders},
        {holder.organization_id for holder in holders},
    )
    good = {(row.user_id, row.organization_id) for row in rows if permissions.member_may_view(row)}
    return {h for h in holders if (h.credential.id, h.organization_id) in good}


def _staff(holders: Collection[StreamHolder]) -> set[StreamHolder]:
    # One query per user: permissions are decided by the project's authentication backends.
    users = get_user_model()._default_manager.filter(
        pk__in={holder.credential.id for holder in holders}
    )
    good = {
        user.pk for user in users if user.is_active and permissions.sees_all_organizations(user)
    }
    return {holder for holder in holders if holder.credential.id in good}


_QUERIES: Mapping[CredentialKind, GrantQuery] = {"key": _keys, "member": _members, "staff": _staff}


def close_connections() -> None:
    """Close this thread's connections, for it lives long and queries seldom."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class _GrantWatch(threading.Thread):
    """Checks open streams as long as there are any."""

    def __init__(self) -> None:
        super().__init__(name="plugspace-grants", daemon=True)
        self.done = threading.Event()

    def run(self) -> None:
        pause = INTERVAL
        while not self.done.wait(pause):
            begun = time.monotonic()
            try:
                self._check()
            except Error:
                # They stay open: all clients would reconnect at once and find no database.
                logger.warning("cannot check open streams: no database")
            except Exception:
                logger.exception("cannot check open streams; trying again")
            finally:
                close_connections()
            pause = max(INTERVAL - (time.monotonic() - begun), MIN_PAUSE)

    def _check(self) -> None:
        with _lock:
            watched = list(_watched.values())
        good = still_granted({holder for holder, _ in watched})
        self._end([end for holder, end in watched if holder not in good])

    def _end(self, ends: Sequence[Callable[[], object]]) -> None:
        """End streams a few at a time, since each one takes time from other requests."""
        groups = [ends[start : start + AT_ONCE] for start in range(0, len(ends), AT_ONCE)]
        for group in groups:
            for end in group:
                # Its loop may be closed.
                with suppress(RuntimeError):
                    end()
            self.done.wait(min(PAUSE, SPREAD / len(groups)))


_lock = threading.Lock()
_watched: dict[object, tuple[StreamHolder, Callable[[], object]]] = {}
_watch: _GrantWatch | None = None


def watch(holder: StreamHolder, end: Callable[[], object]) -> Callable[[], None]:
    """Call `end` in a thread when the grant ends; returns the function that stops watching."""
    global _watch
    ticket = object()
    with _lock:
        if _watch is None:
            made = _GrantWatch()
            # Raises when the process can start no thread; the next stream tries again.
            made.start()
            _watch = made
        _watched[ticket] = holder, end
    return lambda: _unwatch(ticket)


def _unwatch(ticket: object) -> None:
    global _watch
    with _lock:
        _watched.pop(ticket, None)
        if not _watched and _watch is not None:
            _watch.done.set()
            _watch = None
