"""Checks again and again whether the credentials of open streams still grant them.

A stream outlives the request that opened it. One thread of a process checks all open streams at
once, with one or two queries for each kind of credential, however many streams there are. Another
one asks the project's callable, which may be slow, about each stream of a tenant.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from django.contrib.auth import get_user_model
from django.db import Error, connections
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.api import permissions, tenants
from plugspace_queue.api.authentication import CredentialKind, StreamHolder
from plugspace_queue.errors import OrganizationSuspended, TenantCallableFailed
from plugspace_queue.models import tenancy_queries

logger = logging.getLogger("plugspace_queue.api")

INTERVAL, MIN_PAUSE = 1.0, 0.25
"""Seconds from one check to the next, and between them; a revoked credential's streams end within
five seconds."""

TENANT_INTERVAL, ASKERS = 4.0, 4
"""Seconds from one round of questions to the project's callable to the next; threads that ask."""

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


def _tenants(holders: Collection[StreamHolder]) -> set[StreamHolder]:
    ids = {holder.organization_id for holder in holders}
    active = set(tenancy_queries.active_among(ids))
    asked = [holder for holder in holders if holder.organization_id in active]
    with ThreadPoolExecutor(ASKERS, thread_name_prefix="plugspace-tenants") as pool:
        answers = list(pool.map(_is_still_tenant, asked))
    silent = [answer for answer in answers if isinstance(answer, Exception)]
    if silent:
        # These streams stay open: all clients would reconnect at once and get the same answer.
        cause = silent[0].__cause__ or silent[0]
        logger.error(
            "%s failed for %d open streams: %s", tenants.PLACE, len(silent), cause, exc_info=cause
        )
    return {holder for holder, answer in zip(asked, answers, strict=True) if answer}


def _is_still_tenant(holder: StreamHolder) -> bool | Exception:
    """Whether the callable says the same as when the stream was opened; its error if it fails."""
    try:
        assert holder.request is not None
        tenant = tenants.tenant_now(holder.request)
    except (TenantCallableFailed, Error) as error:
        return error
    except tenants.ANSWERS:
        return False
    finally:
        close_connections()
    if tenant is None or not permissions.role_may_view(tenant.role):
        return False
    return bool((tenant.organization_id, tenant.user_id) == holder.credential.id)


_QUERIES: Mapping[CredentialKind, GrantQuery] = {
    "key": _keys,
    "tenant": _tenants,
    "member": _members,
    "staff": _staff,
}


def close_connections() -> None:
    """Close this thread's connections, for it lives long and queries seldom."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class _GrantWatch(threading.Thread):
    """Checks open streams as long as there are any."""

    def __init__(self, is_for_tenants: bool) -> None:
        super().__init__(name="plugspace-grants", daemon=True)
        self.done = threading.Event()
        self.watched: dict[object, tuple[StreamHolder, Callable[[], object]]] = {}
        self._interval = TENANT_INTERVAL if is_for_tenants else INTERVAL

    def run(self) -> None:
        pause = self._interval
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
            pause = max(self._interval - (time.monotonic() - begun), MIN_PAUSE)

    def _check(self) -> None:
        with _lock:
            watched = list(self.watched.values())
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
_watches: dict[bool, _GrantWatch] = {}
"""The one of rows, and that of tenants, while there is something to watch."""


def watch(holder: StreamHolder, end: Callable[[], object]) -> Callable[[], None]:
    """Call `end` in a thread when the grant ends; returns the function that stops watching."""
    is_tenant = holder.credential.kind == "tenant"
    ticket = object()
    with _lock:
        found = _watches.get(is_tenant)
        if found is None:
            found = _GrantWatch(is_tenant)
            # Raises when the process can start no thread; the next stream tries again.
            found.start()
            _watches[is_tenant] = found
        found.watched[ticket] = holder, end
    return lambda: _unwatch(is_tenant, ticket)


def _unwatch(is_tenant: bool, ticket: object) -> None:
    with _lock:
        found = _watches.get(is_tenant)
        if found is None:
            return
        found.watched.pop(ticket, None)
        if not found.watched:
            found.done.set()
            del _watches[is_tenant]
