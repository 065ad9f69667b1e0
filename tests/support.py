"""What the tests of all rooms share: a wait, and the environment of child processes."""

import os
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from django.conf import settings

from tests.patience import patient, took

__all__ = ["child_environment", "database_url", "patient", "took", "wait_until"]

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
