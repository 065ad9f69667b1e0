"""Callers that start at once: threads with connections of their own behind one barrier."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connections

from tests.support import patient


def race(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What each of `count` callers got: a value, or the exception it met."""
    start = Barrier(count)

    def one(number: int) -> Any:
        try:
            start.wait(timeout=patient(10))
            return call(number)
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
