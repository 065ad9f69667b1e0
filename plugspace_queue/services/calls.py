"""What surrounds the manager's methods: twins for async code, errors of the database, counts."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError

from plugspace_queue import metrics
from plugspace_queue.errors import QueueError, Unavailable

P = ParamSpec("P")
R = TypeVar("R")


def twin(method: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The same method, awaited: it runs in the thread that owns the request's connections."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(method, thread_sensitive=True)(*args, **kwargs)

    call.__name__ = f"a{method.__name__}"
    call.__doc__ = f"Awaitable twin of `{method.__name__}`."
    return call


AWAY = "The database does not answer at the moment; nothing was stored, try again soon."


@contextmanager
def database_needed() -> Iterator[None]:
    """Turn "locked", "cannot connect", "deadlock" and their like into Unavailable."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(AWAY) from error


class RefusalsCounted:
    """As `database_needed`, and counts the error that refuses a submit or a retry.

    A class, since every submit enters it: a generator costs several times as much.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OperationalError | InterfaceError):
            metrics.count(metrics.REFUSED, Unavailable.code)
            raise Unavailable(AWAY) from error
        if isinstance(error, QueueError):
            metrics.count(metrics.REFUSED, error.code)
