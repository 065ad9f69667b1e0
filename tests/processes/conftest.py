"""Real worker processes: started as a user starts them, killed as the world kills them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from tests.support import child_environment, patient, wait_until
from tests.worker.conftest import until_final, until_running

__all__ = ["until_final", "until_running"]

# Read for doctests it would register its processors and receivers in this process.
collect_ignore = ["alone", "app", "failing", "gated", "hostile", "listening"]
# Settings of other processes, which change this one when they are read.
collect_ignore_glob = ["*_settings.py"]

ROOT = Path(__file__).parents[2]

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def acme(transactional_db: None) -> str:
    """An organization without quotas in its way."""
    queue_manager.set_organization("acme", tier="enterprise")
    return "acme"


@pytest.fixture
def rqworker(transactional_db: None, redis: Redis, tmp_path: Path) -> Iterator[Start]:
    """`manage.py rqworker …` as a process; whatever still lives of it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str,
        wait: bool = True,
        command: str = "rqworker",
        settings: str = "tests.processes.settings",
        cwd: Path | None = None,
        flags: Sequence[str] = (),
        log: Path | None = None,
        **environment: str,
    ) -> "subprocess.Popen[bytes]":
        with (log or tmp_path / f"worker-{len(started)}.log").open("ab") as written:
            process = subprocess.Popen(
                [sys.executable, *flags, str(ROOT / "manage.py"), command, *arguments],
                cwd=cwd or ROOT,
                env=child_environment(DJANGO_SETTINGS_MODULE=settings, **environment),
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        if wait:
            wait_until(lambda: is_registered(redis, process), 20, "the worker did not start")
        return process

    yield start
    for process in started:
        # With its children: each has a process group of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=patient(10))
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
def nothing_is_left(redis: Redis, rqworker: Start) -> Iterator[None]:
    """At the end, while the workers still live, no slot is taken, no lease and no id is left."""
    yield
    # The row is final first; the lease is settled right after.
    wait_until(lambda: not held_places(redis), 5, f"left behind: {held_places(redis)}")


def held_places(redis: Redis) -> dict[str, int]:
    """What is still in the places where waiting and running tasks are kept."""
    sizes: dict[str, int] = {}
    for name in ("architect", "design", "code", "analyze", "deploy"):
        sizes[keys.wait(name)] = redis.llen(keys.wait(name))
        sizes[keys.active(name)] = redis.llen(keys.active(name))
        sizes[keys.own(name)] = redis.hlen(keys.own(name))
        sizes[keys.lease(name)] = redis.zcard(keys.lease(name))
    return {key: size for key, size in sizes.items() if size}
