"""Reads the Redis servers from the settings, without connecting."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from redis.connection import parse_url

from plugspace_queue.broker.connection import SafeSentinelConnection

Database = tuple[str, int, int]
"""Host (or socket or Sentinel service), port (0 for the last two), number of the database."""

LOCAL = {"127.0.0.1", "::1", "[::1]", "0.0.0.0", ""}


def database_of_queue(config: Mapping[str, Any]) -> Database | None:
    """The database of an entry of RQ_QUEUES; None when it names a cache (USE_REDIS_CACHE)."""
    if url := config.get("URL"):
        return database_of_url(url, config.get("DB"))
    if path := config.get("UNIX_SOCKET_PATH"):
        return _place(path=path, db=config.get("DB"))
    if "SENTINELS" in config:
        return (str(config.get("MASTER_NAME")), 0, int(config.get("DB") or 0))
    if "HOST" in config:
        return _place(host=config["HOST"], port=config.get("PORT"), db=config.get("DB"))
    return None


def databases_of_cache(config: Mapping[str, Any]) -> set[Database]:
    """The databases of an entry of CACHES; empty when its backend is not Redis."""
    if "redis" not in str(config.get("BACKEND", "")).lower():
        return set()
    options = config.get("OPTIONS") or {}
    locations = config.get("LOCATION") or []
    if isinstance(locations, str):
        locations = locations.replace(",", ";").split(";")
    if "SENTINELS" in options:
        return {_service(place) for place in map(database_of_url, locations)}
    number = options.get("db", options.get("DB"))
    return {database_of_url(location.strip(), number) for location in locations}


def database_of_url(url: str, number: Any = None) -> Database:
    """The database of a redis://, rediss:// or unix:// address."""
    parse: Callable[[str], Any] = parse_url
    parsed = dict(parse(url))
    db = parsed.get("db") if number is None else number
    return _place(host=parsed.get("host"), port=parsed.get("port"), path=parsed.get("path"), db=db)


def sentinel_faults(config: Mapping[str, Any]) -> Iterator[str]:
    """Errors in the Sentinel options of an entry of RQ_QUEUES; none without Sentinels."""
    if "SENTINELS" not in config:
        return
    sentinels = config["SENTINELS"]
    if not (_is_list(sentinels) and sentinels and all(map(_is_address, sentinels))):
        yield _("SENTINELS is %(sentinels)r, not a list of (host, port)") % {"sentinels": sentinels}
    if not config.get("MASTER_NAME"):
        yield _("MASTER_NAME is missing: the service as the Sentinels monitor it")


def survives_failover(config: Mapping[str, Any]) -> bool:
    """Whether an entry's connections survive a failover and end with their worker."""
    kind = (config.get("CONNECTION_KWARGS") or {}).get("connection_class")
    is_class = isinstance(kind, type) and issubclass(kind, SafeSentinelConnection)
    return "SENTINELS" not in config or is_class


def _service(place: Database) -> Database:
    return (place[0], 0, place[2])


def _place(*, host: Any = None, port: Any = None, path: Any = None, db: Any = None) -> Database:
    if path:
        return (str(path), 0, int(db or 0))
    name = "localhost" if host is None or host in LOCAL else str(host).lower()
    return (name, int(port or 6379), int(db or 0))


def _is_address(entry: Any) -> bool:
    if not (_is_list(entry) and len(entry) == 2):
        return False
    host, port = entry
    is_port = isinstance(port, int) or (isinstance(port, str) and port.isdigit())
    return isinstance(host, str) and bool(host) and is_port and 0 < int(port) < 65_536


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
