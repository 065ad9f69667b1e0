"""Real worker processes: started as a user starts them, killed as the world kills them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from plugspace_queue import keys, queue_manager
from tests.support import child_environment, wait_until
from tests.worker.conftest import until_final, until_running

__all__ = ["until_final", "until_running"]

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def acme(transactional_db: None) -> str:
    """An organization without quotas in its way."""
    queue_manager.set_organization("acme", tier="enterprise")
    return "acme"


@pytest.fixture
def rqworker(transactional_db: None, redis: Redis, tmp_path: Path) -> Iterator[Start]:
    """`manage.py rqworker …` as a process; whatever still lives is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, wait: bool = True) -> "subprocess.Popen[bytes]":
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "rqworker", *arguments],
                env=child_environment(DJANGO_SETTINGS_MODULE="tests.processes.settings"),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        if wait:
            wait_until(lambda: is_registered(redis, process), 20, "the worker did not start")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(timeout=10)
    for log in sorted(tmp_path.glob("worker-*.log")):
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")


def is_registered(redis: Redis, process: "subprocess.Popen[bytes]") -> bool:
    """Whether RQ knows a living worker with this pid."""
    assert process.poll() is None, "the worker ended"
    return any(
        redis.hget(key, "pid") == str(process.pid).encode() and redis.hget(key, "state")
        for key in redis.smembers("rq:workers")
    )


@pytest.fixture
def nothing_is_left(redis: Redis) -> Iterator[None]:
    """At the end no slot is taken, no lease and no waiting id is left."""
    yield
    for name in ("architect", "design", "code"):
        for key in (keys.wait(name), keys.active(name)):
            assert redis.llen(key) == 0, key
        assert redis.hlen(keys.own(name)) == redis.zcard(keys.lease(name)) == 0
