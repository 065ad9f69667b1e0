"""The cache of the demo project: the queue's server, but another database than the queue's.

Emptying a cache empties its whole database, so the two must never share one.
"""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from plugspace_queue import embedded
from project import environment

DATABASE = 1

CONNECTION = {
    "URL",
    "UNIX_SOCKET_PATH",
    "HOST",
    "PORT",
    "DB",
    "USERNAME",
    "PASSWORD",
    "SENTINELS",
    "MASTER_NAME",
    "SENTINEL_KWARGS",
    "CONNECTION_KWARGS",
    "SOCKET_TIMEOUT",
    "SSL",
    "SSL_CERT_REQS",
}


def connection_of(queues: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What says where the server is in the first of these queues, without how the queue works."""
    first = next(iter(queues.values()))
    return {name: value for name, value in first.items() if name in CONNECTION}


def caches(*, url: str | None, sentinels: str | None) -> dict[str, dict[str, Any]]:
    """CACHES for the server that the queue uses; Sentinel is named by `host:port,…/service`."""
    if sentinels:
        return {"default": _behind_sentinels(sentinels)}
    location = _other_database(url) if url else f"unix://{embedded.socket_path()}?db={DATABASE}"
    return {"default": _direct(location)}


def _direct(location: str) -> dict[str, Any]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}


def _behind_sentinels(text: str) -> dict[str, Any]:
    hosts, service = environment.sentinels(text)
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://{service}/{DATABASE}",
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
            "SENTINELS": hosts,
        },
    }


def _other_database(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(query=f"db={DATABASE}"))
    used = parts.path.strip("/") or "0"
    return urlunsplit(parts._replace(path=f"/{0 if used == str(DATABASE) else DATABASE}"))
