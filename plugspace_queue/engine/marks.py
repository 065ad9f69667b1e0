"""What tells whether a server still has what was written to it."""

from typing import Any

from redis import Redis

from plugspace_queue import keys
from plugspace_queue.engine.connection import guarded


@guarded
def has_epoch(connection: Redis) -> bool:
    """False when this server is new or lost its data. Raises Unavailable."""
    return bool(connection.exists(keys.epoch()))


@guarded
def set_epoch(connection: Redis, moment: str) -> None:
    """From now on `has_epoch` is true, until the data is lost. Raises Unavailable."""
    connection.set(keys.epoch(), moment, nx=True)


@guarded
def paused_organizations(connection: Redis) -> set[str]:
    """The organizations this server holds. Raises Unavailable."""
    members: Any = connection.smembers(keys.paused_organizations())
    return {member.decode() for member in members}
