"""Information about the server of a queue, for probes, checks and operators; not used by tasks."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.connection import SSLConnection
from redis.exceptions import ResponseError

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import client, guarded
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable


def answers() -> bool:
    """Whether the servers of all queues answer."""
    try:
        for connection in {client(kind.queue_name) for kind in TaskType}:
            _ping(connection)
    except Unavailable:
        return False
    return True


def request_window(organization_id: str) -> tuple[int, int] | None:
    """Requests in the current window and seconds until it ends; None without Redis."""
    try:
        used, ttl_ms = _window(client(), keys.ratelimit(organization_id))
    except Unavailable:
        return None
    return int(used or 0), -(-max(int(ttl_ms), 0) // 1000)


def task_snapshot(name: str, task_id: str) -> str | None:
    """The JSON copy of a task on its queue's server; None without one, or without Redis."""
    try:
        return _text(client(name), keys.task(task_id))
    except Unavailable:
        return None


def facts(name: str) -> dict[str, Any]:
    """The INFO of one queue's server. Raises Unavailable."""
    return _info(client(name))


def command(name: str, words: list[str]) -> Any:
    """The raw answer to one command; an error of the server is returned. Raises Unavailable."""
    return _command(client(name), words)


def cli_arguments(name: str) -> tuple[list[str], dict[str, str]]:
    """Arguments of redis-cli for one queue's server, and its environment (the password)."""
    pool = client(name).connection_pool
    options = pool.connection_kwargs
    words = ["-n", str(options.get("db") or 0)]
    if path := options.get("path"):
        words += ["-s", str(path)]
    else:
        host, port = _address(pool)
        words += ["-h", str(host), "-p", str(port)]
    if options.get("username"):
        words += ["--user", str(options["username"])]
    if issubclass(pool.connection_class, SSLConnection):
        words.append("--tls")
    return words, {"REDISCLI_AUTH": options["password"]} if options.get("password") else {}


@guarded
def _ping(connection: Redis) -> None:
    connection.ping()


@guarded
def _window(connection: Redis, key: str) -> tuple[Any, Any]:
    with connection.pipeline(transaction=False) as pipe:
        pipe.get(key)
        pipe.pttl(key)
        used, ttl_ms = pipe.execute()
    return used, ttl_ms


@guarded
def _text(connection: Redis, key: str) -> str | None:
    value: Any = connection.get(key)
    return None if value is None else value.decode(errors="replace")


@guarded
def _info(connection: Redis) -> dict[str, Any]:
    facts: dict[str, Any] = connection.info()
    return facts


@guarded
def _command(connection: Redis, words: list[str]) -> Any:
    execute: Callable[..., Any] = connection.execute_command
    try:
        return execute(*words)
    except ResponseError as error:
        return error


def _address(pool: Any) -> tuple[Any, Any]:
    """Host and port; with Sentinel those of the current primary."""
    if hasattr(pool, "get_master_address"):
        host, port = pool.get_master_address()
        return host, port
    options = pool.connection_kwargs
    return options.get("host") or "localhost", options.get("port") or 6379
