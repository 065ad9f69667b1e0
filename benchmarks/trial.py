"""One measurement of one system: a fresh stage, and the verbs that measures are written in."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from redis import Redis

from benchmarks import job, processes, records
from benchmarks.ground import Ground
from benchmarks.records import Record
from benchmarks.sizes import Size
from benchmarks.systems.base import System


class Incomplete(Exception):
    """A system ran all tasks but does not say that all are complete."""


class Trial:
    """Emptied servers and databases for one system; used once."""

    def __init__(self, system: System, ground: Ground, size: Size) -> None:
        self.system = system
        self.size = size
        self._ground = ground
        self.redis: Redis = system.redis(ground)
        self.redis.flushall()
        ground.records.unlink(missing_ok=True)
        paths = {records.FILE: str(ground.records)}
        self._environment: Mapping[str, str] = {**system.stage(ground), **paths}

    def produce(self, verb: str, count: int = 0, kind: str = job.NOOP) -> dict[str, Any]:
        """Run the system's producer once; its answer."""
        return self.ask([*self.system.producer(), verb, str(count), kind])

    def ask(self, command: Sequence[str]) -> dict[str, Any]:
        """Run a command in the system's environment; its answer."""
        return processes.ask(command, self._environment)

    @contextmanager
    def worker(self, *, on_one_cpu: bool = False) -> Iterator["Worker"]:
        """One worker process, killed at the end."""
        log = self._ground.home / "worker.log"
        plain = self.system.worker()
        command = processes.on_one_cpu(plain) if on_one_cpu else plain
        with processes.logged(command, self._environment, log) as child:
            yield Worker(self._ground, child.pid, lambda: child.poll() is None)

    def resident_when_idle(self) -> float:
        """MiB of a process that has loaded the code and does nothing."""
        log = self._ground.home / "idle.log"
        with processes.logged(self.system.idle(), self._environment, log) as child:
            return settled(lambda: processes.resident(child.pid), lambda: child.poll() is None)

    def records(self) -> list[Record]:
        """The records of all tasks but the warm-up's."""
        return [record for record in records.read(self._ground.records) if record.number >= 0]

    def assert_completed(self, count: int) -> None:
        """Wait until the system itself says that `count` tasks are complete; Incomplete if not."""
        deadline = time.monotonic() + 20
        while (done := self.produce("completed")["completed"]) != count:
            if time.monotonic() > deadline:
                raise Incomplete(f"{self.system.name}: {done} of {count} tasks are complete")


class Worker:
    """A worker process that runs."""

    def __init__(self, ground: Ground, pid: int, is_alive: Callable[[], bool]) -> None:
        self._ground = ground
        self._pid = pid
        self._is_alive = is_alive

    def await_tasks(self, count: int) -> None:
        """Wait until `count` tasks have ended."""
        records.wait(self._ground.records, count, self._is_alive)

    def peak_until(self, count: int) -> float:
        """The same; the highest MiB resident meanwhile, over all its processes."""
        peak = 0.0
        while self._is_alive() and records.count(self._ground.records) < count:
            peak = max(peak, processes.resident(self._pid))
            time.sleep(0.05)
        self.await_tasks(count)
        return peak


def settled(value: Callable[[], float], is_alive: Callable[[], bool], step: float = 0.3) -> float:
    """The value when it does not grow any more, or when nobody is left to make it grow."""
    before, now = -1.0, value()
    while is_alive() and (now == 0.0 or now > before):
        time.sleep(step)
        before, now = now, value()
    return now
