"""System checks of the servers of our queues: how they are found, shared and set up."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from plugspace_queue import embedded_redis
from plugspace_queue.broker import server, server_settings
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.errors import Unavailable

Apps = Sequence[AppConfig] | None
SENTINEL_HELPER = gettext_noop(
    'plugspace_queue.conf.rq_settings(sentinels="host:port,host:port/service")'
    " gives entries that work."
)


@checks.register("plugspace_queue")
def sentinels_are_found(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Entries of RQ_QUEUES that name Sentinels name them right, and with our connection class."""
    given = getattr(settings, "RQ_QUEUES", {})
    ours = {name: given[name] for name in queue_names() if name in given}
    wrong: list[CheckMessage] = [
        Error(
            _("RQ_QUEUES[%(name)r]: %(fault)s.") % {"name": name, "fault": fault},
            hint=_(SENTINEL_HELPER),
            id="psq.E012",
        )
        for name, config in ours.items()
        for fault in server_settings.sentinel_faults(config)
    ]
    return wrong + [
        Warning(
            _(
                "RQ_QUEUES[%(name)r] uses redis-py's own connections to Sentinel: its"
                " workers hang when they are stopped, and may reconnect to the old primary"
                " after a failover."
            )
            % {"name": name},
            hint=_(SENTINEL_HELPER),
            id="psq.W004",
        )
        for name, config in ours.items()
        if not server_settings.survives_failover(config)
    ]


@checks.register("plugspace_queue")
def embedded_server_is_there(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Entries of RQ_QUEUES that name the embedded server find a program to start."""
    given, path = getattr(settings, "RQ_QUEUES", {}), embedded_redis.socket_path()
    if any(given.get(name, {}).get("UNIX_SOCKET_PATH") == path for name in queue_names()):
        try:
            embedded_redis.server_binary()
        except RuntimeError as error:
            return [
                Error(_("RQ_QUEUES names the embedded server."), hint=str(error), id="psq.E023")
            ]
    return []


@checks.register("plugspace_queue")
def caches_stay_away(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """No cache shares a database with the queues: clearing it would be FLUSHDB."""
    given = getattr(settings, "RQ_QUEUES", {})
    found: list[CheckMessage] = []
    ours: dict[str, server_settings.Database | None] = {}
    for name in (name for name in queue_names() if name in given):
        try:
            ours[name] = server_settings.database_of_queue(given[name])
        except ValueError as error:
            found.append(_unreadable(f"RQ_QUEUES[{name!r}]", error))
    for alias, config in settings.CACHES.items():
        try:
            places = server_settings.databases_of_cache(config)
        except ValueError as error:
            found.append(_unreadable(f"CACHES[{alias!r}]", error))
            continue
        shared = [name for name, place in ours.items() if place is None or place in places]
        if shared and places:
            found.append(_shared_database(alias, shared))
    return found


def _unreadable(place: str, error: ValueError) -> CheckMessage:
    return Error(
        _("The address in %(place)s cannot be read: %(error)s") % {"place": place, "error": error},
        id="psq.E011",
    )


def _shared_database(alias: str, queues: list[str]) -> CheckMessage:
    return Error(
        _(
            "CACHES[%(alias)r] uses the Redis database of the queues (%(names)s):"
            " cache.clear() would empty them."
        )
        % {"alias": alias, "names": ", ".join(queues)},
        hint=_("Give the cache another database number, e.g. redis://host:6379/1."),
        id="psq.E006",
    )


@checks.register("plugspace_queue", deploy=True)
def server_keeps_what_it_is_given(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Asks the queues' servers (with `check --deploy`): no cluster, no eviction."""
    given = getattr(settings, "RQ_QUEUES", {})
    try:
        one_each = {
            server_settings.database_of_queue(given[n]): n for n in queue_names() if n in given
        }
    except ValueError:
        # psq.E011 tells it.
        return []
    return [message for name in one_each.values() for message in _of_server(name)]


def _of_server(name: str) -> Iterator[CheckMessage]:
    try:
        facts = server.facts(name)
    except Unavailable as error:
        cause = error.__cause__ or error
        yield Warning(
            _("The server of %(name)r does not answer: %(cause)s") % {"name": name, "cause": cause},
            id="psq.W003",
        )
        return
    if facts.get("cluster_enabled"):
        hint = _("One primary with replicas, with or without Sentinel.")
        yield Error(
            _("The server of %(name)r is a Redis Cluster.") % {"name": name},
            hint=hint,
            id="psq.E007",
        )
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Warning(
            _("The server of %(name)r evicts keys when its memory is full (%(policy)s).")
            % {"name": name, "policy": policy},
            hint=_("Set maxmemory-policy to noeviction: evicted queue data is lost order."),
            id="psq.W001",
        )
