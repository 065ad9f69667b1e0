"""Sends calls to the servers of queues: `ask` raises Unavailable, `send` tolerates a loss."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from plugspace_queue.broker import scripts
from plugspace_queue.broker.connection import (
    Client,
    UnavailableGuard,
    client,
    unless_spoiled,
)
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


def ask_each(
    calls: Mapping[str, Call[Answer]], errors: PerServerErrors | None = None
) -> dict[str, Answer]:
    """Run a script per queue, in one round trip per server; failed calls are left out.

    `errors` collects why: Unavailable, for damaged data of a queue too.
    """
    found: dict[str, Answer] = {}
    errors = errors or PerServerErrors()
    for server, queues in by_server(calls).items():
        with errors.collect():
            outcomes = scripts.run_each(server, [calls[queue] for queue in queues])
            for queue, outcome in zip(queues, outcomes, strict=True):
                with errors.collect(), UnavailableGuard(server):
                    found[queue] = _answer(outcome)
    return found


def send_each(calls: Mapping[str, Sequence[Call[Any]]], errors: PerServerErrors) -> None:
    """Run scripts by queue, in one round trip per server; `errors` collects which failed, and why.

    A queue whose data is damaged does not stop the others.
    """
    for server, queues in by_server(calls).items():
        with errors.collect():
            outcomes = iter(scripts.run_each(server, [one for q in queues for one in calls[q]]))
            for queue in queues:
                with errors.collect(), UnavailableGuard(server):
                    # All were read before one is raised: they are one iterator.
                    for outcome in [next(outcomes) for _ in calls[queue]]:
                        _answer(outcome)


def ask_undamaged(calls: Mapping[str, Call[Answer]]) -> dict[str, Answer | None]:
    """Run a script per queue, in one round trip per server; None where the data is damaged.

    Raises Unavailable when a server is unavailable.
    """
    found: dict[str, Answer | None] = {}
    for server, queues in by_server(calls).items():
        outcomes = scripts.run_each(server, [calls[queue] for queue in queues])
        with UnavailableGuard(server):
            found |= zip(queues, map(unless_spoiled, outcomes), strict=True)
    return found


def by_server(queues: Iterable[str]) -> dict[Client, list[str]]:
    """The queues of each server, in their order."""
    servers: dict[Client, list[str]] = {}
    for queue in queues:
        servers.setdefault(client(queue), []).append(queue)
    return servers


def _answer(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


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
