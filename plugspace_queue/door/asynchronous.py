"""Twins of synchronous methods for async code, made in one place."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

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
