"""Runs scripts in Redis: many calls in one pipeline, loading scripts that the server lacks."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Generic, TypeVar

from redis import Redis
from redis.exceptions import NoScriptError, ResponseError
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import Client, Spoiled, UnavailableGuard, client
from plugspace_queue.conf import get_settings

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
Arg = str | int | bytes
Command = tuple[Arg, ...]
Send = Callable[[Sequence[Command]], list[Any]]

INCLUDE = re.compile(r"^--@include (\S+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call of a script, and the function that parses its answer."""

    name: str
    keys: tuple[str, ...]
    args: tuple[Arg, ...]
    parse: Callable[[Any], T_co]


def on_queue(name: str, queue: str, args: Sequence[Arg], parse: Callable[[Any], Any]) -> Call[Any]:
    """A call of a script that works on one queue; `args` follow the common arguments."""
    places, base = _of_queue(queue, get_settings().key_prefix)
    return Call(name, places, (*base, *args), parse)


@functools.lru_cache(maxsize=256)
def _of_queue(queue: str, prefix: str) -> tuple[tuple[str, ...], tuple[Arg, ...]]:
    """The key and the common first arguments of every call on a queue."""
    return (keys.queue(queue),), (queue, prefix, RQ_KEY_PREFIX)


def name_of(held: bytes) -> str:
    """A name from Redis as text; `raw` converts it back, even if it is not UTF-8."""
    return held.decode(errors="surrogateescape")


def raw(name: str) -> bytes:
    """The bytes of a name that `name_of` has decoded."""
    return name.encode(errors="surrogateescape")


@functools.cache
def source(name: str) -> str:
    """The text of lua/<name>.lua with its includes."""
    return INCLUDE.sub(lambda match: _read(match[1]), _read(f"{name}.lua"))


@functools.cache
def sha(name: str) -> str:
    """The script's SHA1 for EVALSHA."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def run(server: Redis, calls: Sequence[Call[Any]]) -> list[Any]:
    """Run calls in one round trip; the parsed answers in order.

    Each call is atomic, but not all together: when one fails, the others have run. Raises the
    first error, except for missing scripts: those are loaded and only their calls are sent again,
    the second time with the script's text. A front client raises Unavailable when Redis is
    unavailable.
    """
    with UnavailableGuard(server):
        return answers(functools.partial(_send, server), calls)


def run_each(server: Redis, calls: Sequence[Call[Any]]) -> list[Any]:
    """The same, but with an error in place of the answer of each failed call.

    Raises only errors that concern all calls.
    """
    with UnavailableGuard(server):
        return outcomes(functools.partial(_send, server), calls)


def answers(send: Send, calls: Sequence[Call[Any]]) -> list[Any]:
    """As `run`, with the function `send` that sends commands and returns replies or errors."""
    found = outcomes(send, calls)
    _raise_first(found)
    return found


def outcomes(send: Send, calls: Sequence[Call[Any]]) -> list[Any]:
    """As `run_each`, with the function `send`."""
    return _completed(send, calls, send([_command(call) for call in calls]))


def _completed(send: Send, calls: Sequence[Call[Any]], replies: Sequence[Any]) -> list[Any]:
    """The parsed replies; calls whose scripts the server lacks are sent again."""
    if forgotten := _forgotten(replies):
        # Loaded and called in one round trip, as a restart in between would drop the scripts.
        names = sorted({calls[i].name for i in forgotten})
        loads: list[Command] = [("SCRIPT LOAD", source(name)) for name in names]
        again = send([*loads, *(_command(calls[i]) for i in forgotten)])
        _raise_first(again[: len(loads)])
        replies = _filled(replies, forgotten, again[len(loads) :])
    if forgotten := _forgotten(replies):
        # The scripts were flushed in between; EVAL with the text does not depend on loaded ones.
        replies = _filled(replies, forgotten, send([_in_full(calls[i]) for i in forgotten]))
    return [_outcome(call, reply) for call, reply in zip(calls, replies, strict=True)]


class Sent(Generic[T]):
    """One call that was sent to a queue's server; its answer is read later, once.

    Sending it and reading the answer may both raise Unavailable.
    """

    def __init__(self, call: Call[T], queue: str) -> None:
        self._client = client(queue)
        self._call = call
        with UnavailableGuard(self._client):
            self._reading = Reading(self._client, [_command(call)])

    def take(self) -> T:
        """Read the answer; a script that the server lacks is loaded and called again."""
        with UnavailableGuard(self._client):
            send = functools.partial(_send, self._client)
            found = _completed(send, [self._call], self._reading.replies())
            _raise_first(found)
        answer: T = found[0]
        return answer


class Reading:
    """Commands that were sent over a connection of the pool, and their replies.

    Works like redis-py's pipeline without its overhead per use, which costs as much as the
    commands.
    """

    def __init__(self, server: Redis, commands: Sequence[Command]) -> None:
        self._pool: Any = server.connection_pool
        self._count = len(commands)
        self._connection: Any = self._pool.get_connection()
        try:
            self._send(self._connection, commands)
        except BaseException:
            self._drop()
            raise

    def replies(self) -> list[Any]:
        """Read the replies, including errors of the server, and release the connection."""
        try:
            found = [_reply(self._connection) for _ in range(self._count)]
        except BaseException:
            self._drop()
            raise
        self._pool.release(self._connection)
        return found

    def _send(self, connection: Any, commands: Sequence[Command]) -> None:
        connection.send_packed_command(connection.pack_commands(commands))

    def _drop(self) -> None:
        # An unread reply may be left, which the next user would take for its own.
        self._connection.disconnect()
        self._pool.release(self._connection)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _outcome(call: Call[Any], reply: Any) -> Any:
    if isinstance(reply, Exception):
        return reply
    try:
        return call.parse(reply)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        return Spoiled(f"{call.name} answered what makes no sense: {error}")


def _forgotten(replies: Sequence[Any]) -> list[int]:
    """Indexes of the calls whose scripts the server lacks; those have not run."""
    return [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def _filled(replies: Sequence[Any], places: Sequence[int], later: Sequence[Any]) -> list[Any]:
    """The replies, replaced at these indexes by later ones."""
    found = dict(zip(places, later, strict=True))
    return [found.get(i, reply) for i, reply in enumerate(replies)]


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def _command(call: Call[Any]) -> Command:
    return ("EVALSHA", sha(call.name), len(call.keys), *call.keys, *call.args)


def _in_full(call: Call[Any]) -> Command:
    return ("EVAL", source(call.name), len(call.keys), *call.keys, *call.args)


def _send(server: Redis, commands: Sequence[Command]) -> list[Any]:
    if not commands:
        return []
    if isinstance(server, Client):
        return Reading(server, commands).replies()
    with server.pipeline(transaction=False) as pipe:
        queue: Callable[..., object] = pipe.execute_command
        for command in commands:
            queue(*command)
        return pipe.execute(raise_on_error=False)


def _read(file: str) -> str:
    return (resources.files(f"{__package__}.lua") / file).read_text(encoding="utf-8")
