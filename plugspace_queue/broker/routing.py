"""The front door's way to Redis: ask for an answer, or tell what may be mended later."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from plugspace_queue.broker import scripts
from plugspace_queue.broker.connection import Client, client, is_of_damage
from plugspace_queue.broker.scripts import Call
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.errors import Unavailable

Answer = TypeVar("Answer")

ANY_QUEUE = TaskType.ARCHITECT.queue_name
"""Whose server holds what belongs to no queue: organizations, usage, workflows."""


class PerServerErrors:
    """Work at several servers goes on at the others when one is away, which is told at the end."""

    def __init__(self) -> None:
        self._away: Unavailable | None = None

    @contextmanager
    def at_one(self) -> Iterator[None]:
        """Leave the work at one server when that is away."""
        try:
            yield
        except Unavailable as error:
            self._away = error

    def tell(self) -> None:
        """Raise Unavailable when one was away."""
        if self._away is not None:
            raise self._away


def ask(call: Call[Answer], queue: str = ANY_QUEUE) -> Answer:
    """The answer of one script. Raises Unavailable."""
    answer: Answer = scripts.run(client(queue), [call])[0]
    return answer


def unless_damaged(read: Callable[[], Answer]) -> Answer | None:
    """What it reads of one queue; None when the data of that queue is damaged.

    Raises Unavailable when its server is away.
    """
    try:
        return read()
    except Unavailable as error:
        if not is_of_damage(error):
            raise
        return None


def ask_all(calls: Iterable[Call[Answer]], queue: str = ANY_QUEUE) -> list[Answer]:
    """The answers of several scripts in one round trip. Raises Unavailable."""
    calls = list(calls)
    return scripts.run(client(queue), calls) if calls else []


def ask_everywhere(
    calls: Mapping[str, Sequence[Call[Answer]]], extra: Sequence[Call[Any]] = ()
) -> list[Answer]:
    """The answers of scripts by queue, in one round trip per server.

    `extra` calls belong to no queue; their answers are dropped. Raises Unavailable when a server
    is away, after all others were asked.
    """
    servers: dict[Client, list[Call[Any]]] = {client(ANY_QUEUE): list(extra)}
    for queue, of_queue in calls.items():
        servers.setdefault(client(queue), []).extend(of_queue)
    answers: list[Any] = []
    others = PerServerErrors()
    for server, batch in servers.items():
        with others.at_one():
            answers += scripts.run(server, batch) if batch else []
    others.tell()
    return answers[len(extra) :]


def ask_each(calls: Mapping[str, Call[Answer]]) -> dict[str, Answer]:
    """The answers by queue, without those that could not be had; one round trip per server."""
    servers: dict[Client, dict[str, Call[Answer]]] = {}
    for queue, call in calls.items():
        servers.setdefault(client(queue), {})[queue] = call
    found: dict[str, Answer] = {}
    for server, batch in servers.items():
        with contextlib.suppress(Unavailable):
            outcomes = scripts.run_each(server, list(batch.values()))
            pairs = zip(batch, outcomes, strict=True)
            found |= {queue: one for queue, one in pairs if not isinstance(one, Exception)}
    return found


def tell(calls: Iterable[Call[Any]], queue: str = ANY_QUEUE) -> bool:
    """Run scripts whose loss is mended later; False when Redis is away."""
    try:
        ask_all(calls, queue)
    except Unavailable:
        return False
    return True


def put(key: str, text: str, ttl: int = 0) -> Call[None]:
    """Set a string for `ttl` seconds (0: no end)."""
    return Call("snapshot", (key,), (text, ttl), lambda reply: None)
