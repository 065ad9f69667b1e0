"""Which Redis database a setting names, read from the setting alone: nothing is connected."""

from collections.abc import Callable, Mapping
from typing import Any

from redis.connection import parse_url

Place = tuple[str, int, int]
"""Host (or socket or Sentinel service), port (0 for the last two), number of the database."""

LOCAL = {"127.0.0.1", "::1", "[::1]", "0.0.0.0", ""}


def of_queue(config: Mapping[str, Any]) -> Place | None:
    """The database of an entry of RQ_QUEUES; None when it names a cache (USE_REDIS_CACHE)."""
    if url := config.get("URL"):
        return of_url(url, config.get("DB"))
    if path := config.get("UNIX_SOCKET_PATH"):
        return _place(path=path, db=config.get("DB"))
    if "SENTINELS" in config:
        return (str(config.get("MASTER_NAME")), 0, int(config.get("DB") or 0))
    if "HOST" in config:
        return _place(host=config["HOST"], port=config.get("PORT"), db=config.get("DB"))
    return None


def of_cache(config: Mapping[str, Any]) -> set[Place]:
    """The databases of an entry of CACHES; empty when its backend is not Redis."""
    if "redis" not in str(config.get("BACKEND", "")).lower():
        return set()
    options = config.get("OPTIONS") or {}
    locations = config.get("LOCATION") or []
    if isinstance(locations, str):
        locations = locations.replace(",", ";").split(";")
    if "SENTINELS" in options:
        return {_service(place) for place in map(of_url, locations)}
    number = options.get("db", options.get("DB"))
    return {of_url(location.strip(), number) for location in locations}


def of_url(url: str, number: Any = None) -> Place:
    """The database of a redis://, rediss:// or unix:// address."""
    parse: Callable[[str], Any] = parse_url
    told = dict(parse(url))
    db = told.get("db") if number is None else number
    return _place(host=told.get("host"), port=told.get("port"), path=told.get("path"), db=db)


def _service(place: Place) -> Place:
    return (place[0], 0, place[2])


def _place(*, host: Any = None, port: Any = None, path: Any = None, db: Any = None) -> Place:
    if path:
        return (str(path), 0, int(db or 0))
    name = "localhost" if host is None or host in LOCAL else str(host).lower()
    return (name, int(port or 6379), int(db or 0))
