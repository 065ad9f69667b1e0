"""Sends scripts to Redis: many calls, one pipeline, loaded again when the server forgot them."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Generic, TypeVar

from redis import Redis
from redis.exceptions import NoScriptError
from rq.defaults import RQ_KEY_PREFIX

from plugspace_queue.broker import keys
from plugspace_queue.broker.connection import Spoiled, guarded
from plugspace_queue.conf import get_settings

T_co = TypeVar("T_co", covariant=True)
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
    base: tuple[Arg, ...] = (queue, get_settings().key_prefix, RQ_KEY_PREFIX)
    return Call(name, (keys.queue(queue),), (*base, *args), parse)


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


@guarded
def run(client: Redis, calls: Sequence[Call[Any]]) -> list[Any]:
    """The parsed answers, in order, for one round trip.

    Calls are atomic each, not together: when one fails the others have run. Raises the first
    error that is not a forgotten script; those are loaded, and only their calls are sent again,
    with the script's text when it was forgotten once more.
    A front client raises Unavailable when Redis is away.
    """
    return answers(functools.partial(_send, client), calls)


@guarded
def run_each(client: Redis, calls: Sequence[Call[Any]]) -> list[Any]:
    """The same, with the error in the place of an answer that could not be had.

    Raises what keeps all of them from an answer.
    """
    return outcomes(functools.partial(_send, client), calls)


def answers(send: Send, calls: Sequence[Call[Any]]) -> list[Any]:
    """As `run`, with `send` for the way: many commands to their replies, errors among them."""
    found = outcomes(send, calls)
    _raise_first(found)
    return found


def outcomes(send: Send, calls: Sequence[Call[Any]]) -> list[Any]:
    """As `run_each`, likewise."""
    replies = send([_command(call) for call in calls])
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


def _send(client: Redis, commands: Sequence[Command]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        queue: Callable[..., object] = pipe.execute_command
        for command in commands:
            queue(*command)
        return pipe.execute(raise_on_error=False)


def _read(file: str) -> str:
    return (resources.files(f"{__package__}.lua") / file).read_text(encoding="utf-8")
