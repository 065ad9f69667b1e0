"""A lock without a leader: whoever holds it may keep it, and it ends by itself."""

import uuid

from redis import Redis

from plugspace_queue.broker import scripts
from plugspace_queue.broker.scripts import Call


class Lock:
    """A lock that this object holds, or somebody else."""

    def __init__(self, key: str, ttl: float) -> None:
        self._key = key
        self._ttl_ms = round(ttl * 1000)
        self._token = uuid.uuid4().hex

    def take(self, connection: Redis) -> bool:
        """Hold it from now on for its time to live; False when another holds it."""
        (is_ours,) = scripts.run(connection, [lock(self._key, self._token, self._ttl_ms)])
        return bool(is_ours)

    def give_back(self, connection: Redis) -> None:
        """Let others have it; nothing happens when they do already."""
        scripts.run(connection, [unlock(self._key, self._token)])


def lock(key: str, token: str, ttl_ms: int) -> Call[bool]:
    """Take it, or keep it for longer; False when another token holds it."""
    return Call("lock", (key,), (token, ttl_ms), bool)


def unlock(key: str, token: str) -> Call[bool]:
    """Give it back; False when another token holds it, or none."""
    return Call("unlock", (key,), (token,), bool)
