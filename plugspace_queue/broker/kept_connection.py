"""A connection kept by one thread that sends all the time, as the pump of a worker does."""

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
"""Seconds of rest after which the pool is asked to look whether the connection still stands."""


class Wire:
    """Sends calls of scripts as redis-py's pipeline does, less what that does anew each time.

    To take a connection from the pool, look whether it stands, observe, and give it back costs as
    much as a call. Nothing is sent twice; a connection that broke is made anew by the next call.
    """

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._used_at = 0.0

    def run_each(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """As `scripts.run_each`; raises what redis raises when the connection breaks."""
        return scripts.outcomes(self._send, calls)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._pool.release(self._connection)
            self._connection = None

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._standing()
        try:
            connection.send_packed_command(_packed(connection, commands))
            return [_reply(connection) for _ in commands]
        except BaseException:
            # An answer may be left in it, which nobody else must take for his own.
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
        """Whether Sentinel has told of another primary meanwhile (to the ticker, say)."""
        primary = getattr(self._pool, "master_address", None)
        if primary is None or self._connection is None:
            return False
        return bool(primary != (self._connection.host, self._connection.port))


def _packed(connection: Any, commands: Sequence[Command]) -> Sequence[bytes]:
    """The commands as they go out; as redis-py does it, but without looking at each argument."""
    if hiredis is None:
        packed: Sequence[bytes] = connection.pack_commands(commands)
        return packed
    pack: Callable[[Any], bytes] = hiredis.pack_command
    return [b"".join([pack(_words(command)) for command in commands])]


def _words(command: Command) -> Command:
    name = command[0]
    # As in `SCRIPT LOAD`.
    return (*name.split(), *command[1:]) if isinstance(name, str) and " " in name else command


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
