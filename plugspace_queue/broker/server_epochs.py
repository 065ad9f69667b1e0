"""What tells whether a server still has what was written to it."""

from collections.abc import Sequence
from typing import Any

from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import guarded, is_spoiled


@guarded
def are_lost(connection: Redis, queues: Sequence[str]) -> list[bool]:
    """For each queue, whether its server is new or lost what was written. Raises Unavailable."""
    with connection.pipeline(transaction=False) as pipe:
        pipe.exists(keys.epoch())
        for name in queues:
            pipe.hexists(keys.meta(name), "limiter")
        # Of a queue whose settings are of a wrong type nothing is lost: it is damaged.
        has_epoch, *are_configured = pipe.execute(raise_on_error=False)
    _raise_unless_spoiled([has_epoch, *are_configured])
    return [not (has_epoch and is_configured) for is_configured in are_configured]


def _raise_unless_spoiled(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception) and not is_spoiled(reply):
            raise reply


@guarded
def set_epoch(connection: Redis, moment: str) -> None:
    """From now on this server has its data, until it is lost. Raises Unavailable."""
    connection.set(keys.epoch(), moment, nx=True)


@guarded
def epoch(connection: Redis) -> str | None:
    """What this server was marked with; another one after a loss. Raises Unavailable."""
    found: Any = connection.get(keys.epoch())
    return None if found is None else found.decode()


@guarded
def paused_organizations(connection: Redis) -> set[str]:
    """The organizations this server holds. Raises Unavailable."""
    members: Any = connection.smembers(keys.paused_organizations())
    return {member.decode() for member in members}
