"""A connection that one thread keeps because it sends all the time, as a worker's loop does."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from plugspace_queue.broker import scripts
from plugspace_queue.broker.scripts import Call, Command

try:
    import hiredis
except ImportError:
    hiredis = None  # type: ignore[assignment]

IDLE = 1.0
"""Seconds without use after which the pool has to check the connection."""


class Wire:
    """Sends script calls like redis-py's pipeline, without its overhead per use.

    Taking a connection from the pool, checking it, recording metrics and releasing it costs as
    much as a call. Nothing is sent twice; the next call replaces a broken connection.
    """

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._used_at = 0.0

    def run_each(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """As `scripts.run_each`; raises what redis raises when the connection breaks."""
        return scripts.outcomes(self._send, calls)

    def close(self) -> None:
        """Release the connection to the pool."""
        if self._connection is not None:
            self._pool.release(self._connection)
            self._connection = None

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._standing()
        try:
            connection.send_packed_command(_packed(connection, commands))
            return [_reply(connection) for _ in commands]
        except BaseException:
            # An unread answer may be left, which the next user would take for its own.
            connection.disconnect()
            self.close()
            raise

    def _standing(self) -> Any:
        now = time.monotonic()
        if now - self._used_at > IDLE or self._has_moved():
            self.close()
        self._used_at = now
        if self._connection is None:
            self._connection = self._pool.get_connection()
        return self._connection

    def _has_moved(self) -> bool:
        """Whether Sentinel has named another primary meanwhile, to any user of the pool."""
        primary = getattr(self._pool, "master_address", None)
        if primary is None or self._connection is None:
            return False
        return bool(primary != (self._connection.host, self._connection.port))


def _packed(connection: Any, commands: Sequence[Command]) -> Sequence[bytes]:
    """The commands packed as redis-py does it, but without checking each argument in Python."""
    if hiredis is None:
        packed: Sequence[bytes] = connection.pack_commands(commands)
        return packed
    pack: Callable[[Any], bytes] = hiredis.pack_command
    return [b"".join([pack(_words(command)) for command in commands])]


def _words(command: Command) -> Command:
    name = command[0]
    # `SCRIPT LOAD` consists of two words.
    return (*name.split(), *command[1:]) if isinstance(name, str) and " " in name else command


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
