"""Sends scripts to Redis: many calls, one pipeline, loaded again when the server forgot them."""

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
    """One call of a script, and how to read its answer."""

    name: str
    keys: tuple[str, ...]
    args: tuple[Arg, ...]
    parse: Callable[[Any], T_co]


def on_queue(name: str, queue: str, args: Sequence[Arg], parse: Callable[[Any], Any]) -> Call[Any]:
    """A call of a script that works on one queue; `args` are what it asks for itself."""
    places, base = _of_queue(queue, get_settings().key_prefix)
    return Call(name, places, (*base, *args), parse)


@functools.lru_cache(maxsize=256)
def _of_queue(queue: str, prefix: str) -> tuple[tuple[str, ...], tuple[Arg, ...]]:
    """The key and the first arguments of every call of a queue."""
    return (keys.queue(queue),), (queue, prefix, RQ_KEY_PREFIX)


def name_of(held: bytes) -> str:
    """A name that Redis holds; of one that is no UTF-8, what `raw` makes the same bytes of."""
    return held.decode(errors="surrogateescape")


def raw(name: str) -> bytes:
    """The bytes of a name, whoever wrote it."""
    return name.encode(errors="surrogateescape")


@functools.cache
def source(name: str) -> str:
    """The text of lua/<name>.lua with its includes."""
    return INCLUDE.sub(lambda match: _read(match[1]), _read(f"{name}.lua"))


@functools.cache
def sha(name: str) -> str:
    """What EVALSHA wants for the script."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def run(server: Redis, calls: Sequence[Call[Any]]) -> list[Any]:
    """The parsed answers, in order, for one round trip.

    Calls are atomic each, not together: when one fails the others have run. Raises the first
    error that is not a forgotten script; those are loaded, and only their calls are sent again,
    with the script's text when it was forgotten once more.
    A front client raises Unavailable when Redis is away.
    """
    with UnavailableGuard(server):
        return answers(functools.partial(_send, server), calls)


def run_each(server: Redis, calls: Sequence[Call[Any]]) -> list[Any]:
    """The same, with the error in the place of an answer that could not be had.

    Raises what keeps all of them from an answer.
    """
    with UnavailableGuard(server):
        return outcomes(functools.partial(_send, server), calls)


def answers(send: Send, calls: Sequence[Call[Any]]) -> list[Any]:
    """As `run`, with `send` for the way: many commands to their replies, errors among them."""
    found = outcomes(send, calls)
    _raise_first(found)
    return found


def outcomes(send: Send, calls: Sequence[Call[Any]]) -> list[Any]:
    """As `run_each`, likewise."""
    return _completed(send, calls, send([_command(call) for call in calls]))


def _completed(send: Send, calls: Sequence[Call[Any]], replies: Sequence[Any]) -> list[Any]:
    """What calls were answered with; those whose scripts were forgotten are sent again."""
    if forgotten := _forgotten(replies):
        # Loaded and called in one round trip: a server that restarts forgets them between two.
        names = sorted({calls[i].name for i in forgotten})
        loads: list[Command] = [("SCRIPT LOAD", source(name)) for name in names]
        again = send([*loads, *(_command(calls[i]) for i in forgotten)])
        _raise_first(again[: len(loads)])
        replies = _filled(replies, forgotten, again[len(loads) :])
    if forgotten := _forgotten(replies):
        # Flushed in between: the text itself needs nothing that could be forgotten.
        replies = _filled(replies, forgotten, send([_in_full(calls[i]) for i in forgotten]))
    return [_outcome(call, reply) for call, reply in zip(calls, replies, strict=True)]


class Sent(Generic[T]):
    """One call that is on its way to a queue's server; its answer is read later, once.

    Raises Unavailable when it is sent and when the answer is read.
    """

    def __init__(self, call: Call[T], queue: str) -> None:
        self._client = client(queue)
        self._call = call
        with UnavailableGuard(self._client):
            self._reading = Reading(self._client, [_command(call)])

    def take(self) -> T:
        """The answer; a script that the server forgot is loaded and called then."""
        with UnavailableGuard(self._client):
            send = functools.partial(_send, self._client)
            found = _completed(send, [self._call], self._reading.replies())
            _raise_first(found)
        answer: T = found[0]
        return answer


class Reading:
    """Commands that were sent through a connection of the pool, and their replies.

    As redis-py's pipeline does it, less what that observes and does anew each time: that costs as
    much as the commands.
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
        """The replies, errors of the server among them; the connection goes back to the pool."""
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
        # A reply may be left in it, which the next user must not take for its own.
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
    """Places of the calls whose scripts the server does not know; those have not run."""
    return [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def _filled(replies: Sequence[Any], places: Sequence[int], later: Sequence[Any]) -> list[Any]:
    """The replies with later ones in these places."""
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
