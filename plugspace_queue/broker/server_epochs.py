"""Detects whether a Redis server has lost its data."""

from collections.abc import Sequence
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded, is_spoiled
from plugspace_queue.broker.scripts import name_of


@guarded
def are_lost(connection: Redis, queues: Sequence[str]) -> list[bool]:
    """For each queue, whether its server is new or has lost its data. Raises Unavailable."""
    with connection.pipeline(transaction=False) as pipe:
        pipe.exists(keys.epoch())
        for name in queues:
            pipe.hexists(keys.meta(name), "limiter")
        # Settings of a wrong type give an error: that queue is damaged, but nothing was lost.
        has_epoch, *are_configured = pipe.execute(raise_on_error=False)
    _raise_unless_spoiled([has_epoch, *are_configured])
    return [not (has_epoch and is_configured) for is_configured in are_configured]


def _raise_unless_spoiled(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception) and not is_spoiled(reply):
            raise reply


@guarded
def set_epoch(connection: Redis, moment: str) -> None:
    """Mark the server as having its data; a data loss removes the mark. Raises Unavailable."""
    connection.set(keys.epoch(), moment, nx=True)


@guarded
def epoch(connection: Redis) -> str | None:
    """The server's mark, which differs after a data loss. Raises Unavailable."""
    found: Any = connection.get(keys.epoch())
    return None if found is None else found.decode(errors="replace")


@guarded
def paused_organizations(connection: Redis) -> set[str]:
    """The organizations paused on this server, decoded by `name_of`. Raises Unavailable."""
    members: Any = connection.smembers(keys.paused_organizations())
    return {name_of(member) for member in members}
