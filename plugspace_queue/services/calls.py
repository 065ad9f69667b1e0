"""Wrappers of the manager's methods: async twins, and translation of database errors."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from plugspace_queue.errors import Unavailable
from plugspace_queue.metrics import DATABASE_AWAY

P = ParamSpec("P")
R = TypeVar("R")


def twin(method: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The method as a coroutine function; it runs in the thread that owns the connections."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(method, thread_sensitive=True)(*args, **kwargs)

    call.__name__ = f"a{method.__name__}"
    call.__doc__ = f"Awaitable twin of `{method.__name__}`."
    return call


@contextmanager
def database_needed() -> Iterator[None]:
    """Translate lock timeouts, connection errors, deadlocks and the like into Unavailable."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(_(DATABASE_AWAY)) from error
