"""A trio of Sentinels for the test and for the workers that it starts."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugspace_queue.conf import rq_settings
from plugspace_queue.limits import policies
from plugspace_queue.services import queue_stats
from tests.api.conftest import ApiClient, key_of
from tests.ha import trio
from tests.ha.trio import Trio
from tests.processes.conftest import Start, acme, rqworker
from tests.support import wait_until

__all__ = ["acme", "key_of", "rqworker"]

# Read for doctests it would register its processors in this process.
collect_ignore = ["app"]

Worker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def sentinel_trio(tmp_path: Path, settings: Any) -> Iterator[Trio]:
    """Sentinels of this test alone; the queue manager of this process finds Redis through them."""
    with trio.running(tmp_path / "trio") as made:
        settings.RQ_QUEUES, settings.RQ = rq_settings(sentinels=made.setting)
        policies.clear_cache()
        queue_stats.clear_cache()
        yield made


@pytest.fixture
def worker(rqworker: Start, sentinel_trio: Trio) -> Worker:
    """`manage.py rqworker …` that finds Redis through the Sentinels."""

    def start(*queues: str) -> "subprocess.Popen[bytes]":
        process = rqworker(
            *queues,
            wait=False,
            settings="tests.ha.settings",
            SENTINELS=sentinel_trio.setting,
        )
        wait_until(lambda: is_registered(sentinel_trio, process), 20, "the worker did not start")
        return process

    return start


def is_registered(made: Trio, process: "subprocess.Popen[bytes]") -> bool:
    """Whether RQ knows a worker with this pid whose crew has begun."""
    assert process.poll() is None, "the worker ended"
    client = made.primary().client
    return any(
        client.hget(key, "pid") == str(process.pid)
        and client.hget(key, "state") in ("idle", "busy")
        for key in client.smembers("rq:workers")
    )


@pytest.fixture
def api(key_of: Callable[..., ApiClient], acme: str) -> ApiClient:
    """A client of acme with all scopes."""
    return key_of(acme)
