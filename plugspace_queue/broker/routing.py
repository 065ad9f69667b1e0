"""Sends calls to the servers of queues: `ask` raises Unavailable, `send` tolerates a loss."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from plugspace_queue.broker import scripts
from plugspace_queue.broker.connection import Client, client, is_of_damage
from plugspace_queue.broker.scripts import Call
from plugspace_queue.errors import Unavailable

Answer = TypeVar("Answer")


class PerServerErrors:
    """Collects Unavailable per server, and raises it after all servers were tried."""

    def __init__(self) -> None:
        self._error: Unavailable | None = None

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Run a block for one server; Unavailable ends the block and is kept."""
        try:
            yield
        except Unavailable as error:
            self._error = error

    def raise_if_any(self) -> None:
        """Raise Unavailable if a server was unavailable."""
        if self._error is not None:
            raise self._error


def ask(call: Call[Answer], queue: str | None = None) -> Answer:
    """Run one script and return its answer. Raises Unavailable."""
    answer: Answer = scripts.run(client(queue), [call])[0]
    return answer


def unless_damaged(read: Callable[[], Answer]) -> Answer | None:
    """The result of `read`; None when the queue's data is damaged.

    Raises Unavailable when its server is unavailable.
    """
    try:
        return read()
    except Unavailable as error:
        if not is_of_damage(error):
            raise
        return None


def ask_all(calls: Iterable[Call[Answer]], queue: str | None = None) -> list[Answer]:
    """Run several scripts in one round trip and return their answers. Raises Unavailable."""
    calls = list(calls)
    return scripts.run(client(queue), calls) if calls else []


def ask_everywhere(
    calls: Mapping[str, Sequence[Call[Answer]]], extra: Sequence[Call[Any]] = ()
) -> list[Answer]:
    """Run scripts by queue, in one round trip per server, and return their answers.

    `extra` calls belong to no queue; their answers are dropped. Raises Unavailable when a server
    is unavailable, after all others were asked.
    """
    servers: dict[Client, list[Call[Any]]] = {client(): list(extra)}
    for queue, of_queue in calls.items():
        servers.setdefault(client(queue), []).extend(of_queue)
    answers: list[Any] = []
    others = PerServerErrors()
    for server, batch in servers.items():
        with others.collect():
            answers += scripts.run(server, batch) if batch else []
    others.raise_if_any()
    return answers[len(extra) :]


def ask_each(calls: Mapping[str, Call[Answer]]) -> dict[str, Answer]:
    """Run a script per queue, in one round trip per server; failed calls are left out."""
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


def send(calls: Iterable[Call[Any]], queue: str | None = None) -> bool:
    """Run scripts whose loss is repaired later; False when Redis is unavailable."""
    try:
        ask_all(calls, queue)
    except Unavailable:
        return False
    return True


def put(key: str, text: str, ttl: int = 0) -> Call[None]:
    """Set a string that expires after `ttl` seconds (0: never)."""
    return Call("snapshot", (key,), (text, ttl), lambda reply: None)
