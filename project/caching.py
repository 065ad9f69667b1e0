"""The cache of the demo project: the queue's server, but another database than the queue's.

Emptying a cache empties its whole database, so the two must never share one.
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.utils.module_loading import import_string

from plugspace_queue.conf import SENTINEL_CONNECTION, embedded_redis, parse_sentinels

DATABASE = 1

# A page waits for its cache no longer than this.
TIMEOUT = 1.0


def caches(*, url: str | None, sentinels: str | None) -> dict[str, dict[str, Any]]:
    """CACHES for the server that the queue uses; Sentinel is named by `host:port,…/service`."""
    if sentinels:
        return {"default": _behind_sentinels(sentinels)}
    location = (
        _other_database(url) if url else f"unix://{embedded_redis.socket_path()}?db={DATABASE}"
    )
    return {"default": _direct(location)}


def _direct(location: str) -> dict[str, Any]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}


def _behind_sentinels(text: str) -> dict[str, Any]:
    hosts, service = parse_sentinels(text)
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        # A list of one: reads go to the primary too, so that what was written is read back.
        "LOCATION": [f"redis://{service}/{DATABASE}"],
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": hosts,
            "SENTINEL_KWARGS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
            "SOCKET_TIMEOUT": TIMEOUT,
            "SOCKET_CONNECT_TIMEOUT": TIMEOUT,
            "CONNECTION_POOL_KWARGS": {"connection_class": import_string(SENTINEL_CONNECTION)},
        },
    }


def _other_database(url: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        query["db"] = _other(query.get("db", "0"))
        return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"
    # redis-py lets the query win over the path.
    used = query.pop("db", "") or parts.path.strip("/") or "0"
    return urlunsplit(parts._replace(path=f"/{_other(used)}", query=urlencode(query)))


def _other(used: str) -> str:
    return "0" if int(used) == DATABASE else str(DATABASE)
