"""One measurement of one system: a fresh stage, and the verbs that measures are written in."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

from benchmarks import accounting, job, processes, records
from benchmarks.accounting import Usage
from benchmarks.ground import Ground
from benchmarks.records import Record
from benchmarks.sizes import Size
from benchmarks.systems.base import System

STEP, CALM, BUSY = 0.5, 3, 0.1
"""A worker is at rest that used less than a tenth of a CPU in three looks, 0.5 s apart."""

LONGEST_START = 30.0
"""Seconds after which it is measured anyway."""


class Incomplete(Exception):
    """A system ran all tasks but does not say that all are complete."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many tasks have run at a moment (monotonic ns)."""

    tasks: int
    at: int


class Trial:
    """Emptied servers and databases for one system; used once."""

    def __init__(self, system: System, ground: Ground, size: Size) -> None:
        self.system = system
        self.size = size
        self.counts = ground.counts
        self._ground = ground
        self.redis: Redis = system.redis(ground)
        self.redis.flushall()
        ground.records.unlink(missing_ok=True)
        paths = {records.FILE: str(ground.records)}
        self._environment: Mapping[str, str] = {**system.stage(ground), **paths}

    def anew(self) -> "Trial":
        """The same system on emptied servers again."""
        return Trial(self.system, self._ground, self.size)

    def produce(
        self, verb: str, count: int = 0, kind: str = job.NOOP, **variables: str
    ) -> dict[str, Any]:
        """Run the system's producer once; its answer."""
        return self.ask([*self.system.producer(), verb, str(count), kind], **variables)

    def ask(self, command: Sequence[str], **variables: str) -> dict[str, Any]:
        """Run a command in the system's environment; its answer."""
        return processes.ask(command, {**self._environment, **variables})

    @contextmanager
    def watch(self) -> Iterator["Watch"]:
        """A process of the system that is ready to see when tasks are complete."""
        command = [*self.system.producer(), "watch", "0", job.NOOP]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with processes.started(command, self._environment, **pipes) as child:
            assert child.stdout and child.stdin
            if child.stdout.readline() != b"ready\n":
                raise Incomplete(f"{self.system.name} does not say what is complete")
            yield Watch(child)
            child.stdin.close()
            child.stdout.close()

    @contextmanager
    def worker(self, *, on_one_cpu: bool = False, processes: int = 1) -> Iterator["Worker"]:
        """Worker processes, killed at the end."""
        with ExitStack() as stack:
            children = [
                stack.enter_context(self._started(f"worker-{number}", on_one_cpu=on_one_cpu))
                for number in range(processes)
            ]
            yield Worker(self._ground, self.redis, self.system, children)

    def resident_when_idle(self) -> float:
        """MiB of a process that has loaded the code and does nothing."""
        log = self._ground.home / "idle.log"
        with processes.logged(self.system.idle(), self._environment, log) as child:
            return settled(lambda: processes.resident(child.pid), lambda: child.poll() is None)

    def records(self) -> list[Record]:
        """The records of all tasks but the warm-up's."""
        return [record for record in records.read(self._ground.records) if record.number >= 0]

    @contextmanager
    def _started(self, name: str, *, on_one_cpu: bool) -> Iterator["subprocess.Popen[bytes]"]:
        plain = self.system.worker()
        command = processes.on_one_cpu(plain) if on_one_cpu else plain
        log = self._ground.home / f"{name}.log"
        with processes.logged(command, self._environment, log) as child:
            yield child


class Watch:
    """A process that waits to look whether all tasks are complete."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    def completed(self, count: int) -> int:
        """The moment (monotonic ns) when `count` were complete; Incomplete when they are not."""
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(f"{count}\n".encode())
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline() or b"{}")
        if answer.get("completed") != count:
            raise Incomplete(f"{answer.get('completed')} of {count} tasks are complete")
        return int(answer["at"])


class Worker:
    """Worker processes that run."""

    def __init__(
        self,
        ground: Ground,
        redis: Redis,
        system: System,
        children: Sequence["subprocess.Popen[bytes]"],
    ) -> None:
        self._ground = ground
        self._children = children
        self._redis = int(redis.info("server")["process_id"])
        self._postgres = ground.postgres().pid if system.needs_postgres else None

    def await_tasks(self, count: int) -> None:
        """Wait until `count` tasks have ended."""
        records.wait(self._ground.records, count, self._is_alive)

    def active(self) -> int:
        """How many processes have run a task."""
        return records.processes(self._ground.records)

    def settle(self) -> None:
        """Wait until the processes have come to rest: what a start still does is over."""
        until, calm = time.monotonic() + LONGEST_START, 0
        before = self.usage().worker
        while calm < CALM and time.monotonic() < until:
            time.sleep(STEP)
            now = self.usage().worker
            calm = calm + 1 if now - before < STEP * BUSY else 0
            before = now

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """A block during which the processes get no CPU time."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for child in self._children:
            os.killpg(child.pid, number)

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(tasks=records.count(self._ground.records), at=time.monotonic_ns())

    def usage(self) -> Usage:
        """CPU seconds until now."""
        return Usage(
            worker=accounting.of_sessions([child.pid for child in self._children]),
            redis=accounting.of_family(self._redis),
            postgres=accounting.of_family(self._postgres),
        )

    def peak_until(self, count: int) -> float:
        """Wait for `count` tasks; the highest MiB resident meanwhile, over all its processes."""
        peak = 0.0
        while self._is_alive() and records.count(self._ground.records) < count:
            peak = max(peak, sum(processes.resident(child.pid) for child in self._children))
            time.sleep(0.05)
        self.await_tasks(count)
        return peak

    def _is_alive(self) -> bool:
        return all(child.poll() is None for child in self._children)


def settled(value: Callable[[], float], is_alive: Callable[[], bool], step: float = 0.3) -> float:
    """The value when it does not grow any more, or when nobody is left to make it grow."""
    before, now = -1.0, value()
    while is_alive() and (now == 0.0 or now > before):
        time.sleep(step)
        before, now = now, value()
    return now
