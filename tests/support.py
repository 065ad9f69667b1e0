"""What the tests of all rooms share: a wait, and the environment of child processes."""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from django.conf import settings
from redis import Redis

from plugspace_queue.broker import keys
from tests.patience import patient, took

__all__ = [
    "alike",
    "child_environment",
    "database_url",
    "patient",
    "took",
    "wait_until",
    "wake_readers",
]

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 5.0, message: str = "") -> T:
    """The first truthy value of `condition`; fails with `message` after `timeout` seconds.

    `timeout` is what a quiet machine may take; it is scaled by the factor of `tests.patience`.
    """
    deadline = time.monotonic() + patient(timeout)
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                message or f"still {value!r} after {patient(timeout)} s: {condition}"
            )
        time.sleep(0.005)  # noqa: TID251 -- the one place that may
    return value


def alike(cases: Iterable[Any], quick: int) -> list[Any]:
    """Parameters of one test, many of a kind: all but the first `quick` are marked `slow`."""
    marks = pytest.mark.slow
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*v, marks=marks if i >= quick else ()) for i, v in enumerate(values)]


def wake_readers(redis: Redis) -> None:
    """Readers of events that nobody listens to end at once; else they block for a second."""
    redis.xadd(keys.events(), {"event": "null"})


def child_environment(**extra: str) -> dict[str, str]:
    """os.environ for a child process that must see the database of the running test."""
    return os.environ | {"DATABASE_URL": database_url(), "PYTHONUNBUFFERED": "1"} | extra


def database_url() -> str:
    """The URL of the database that the running test uses."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        return f"sqlite:///{database['NAME']}"
    user, password = quote(database["USER"]), quote(database["PASSWORD"])
    host, port = quote(database["HOST"], safe=""), database["PORT"] or ""
    return f"postgres://{user}:{password}@/{database['NAME']}?host={host}&port={port}"
