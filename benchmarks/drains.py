"""Drains: tasks wait, workers start, and both rate and CPU time per task are taken.

The time begins when each worker process has run a task, so that no start-up is in it, and ends when
the system itself says that all tasks are complete, so that the last commits and settles are.
"""

import math
from dataclasses import dataclass

from benchmarks import accounting
from benchmarks.accounting import Usage
from benchmarks.trial import Incomplete, Trial

RATE, MICROSECONDS = "tasks/s", "µs"
Values = dict[str, float]

TRIES = 4
"""How often a drain is repeated with more tasks until it lasts long enough."""

SPARE = 1.2
"""More tasks than should be enough, since rates differ between rounds."""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """A way to drain, and the names of the figures that it gives."""

    title: str
    processes: int = 1
    organizations: int = 1
    on_one_cpu: bool = False

    @property
    def cpu(self) -> str:
        """CPU time of worker and servers together."""
        return f"CPU per task, {self.title}"

    @property
    def parts(self) -> tuple[str, str, str]:
        """The same for worker, Redis and PostgreSQL."""
        return f"{self.cpu}: worker", f"{self.cpu}: Redis", f"{self.cpu}: PostgreSQL"

    @property
    def figures(self) -> dict[str, str]:
        """Name to unit."""
        return {self.title: RATE, **dict.fromkeys((self.cpu, *self.parts), MICROSECONDS)}

    def __call__(self, trial: Trial) -> Values:
        """Drain enough tasks; the figures."""
        count = trial.counts.setdefault((trial.system.name, self), _first(trial))
        for left in reversed(range(TRIES)):
            window = self._once(trial, count)
            if window.seconds >= trial.size.work or not left:
                break
            count = window.enough(trial.size.work)
            trial.counts[trial.system.name, self] = count
            trial = trial.anew()
        return self._values(window)

    def _once(self, trial: Trial, count: int) -> "Window":
        trial.produce("load", count, BENCH_ORGANIZATIONS=str(self.organizations))
        with (
            trial.watch(count) as watch,
            trial.worker(on_one_cpu=self.on_one_cpu, processes=self.processes) as worker,
        ):
            worker.await_processes(self.processes, count)
            before, began = worker.usage(), worker.progress()
            worker.await_tasks(count)
            ended = watch.completed()
            used = worker.usage() - before
        if began.tasks >= count:
            # Too few tasks to look at while they run: from the first start, without CPU.
            began = worker.beginning()
        seconds = (ended - began.at) / 1e9
        return Window(before=began.tasks, tasks=count - began.tasks, seconds=seconds, used=used)

    def _values(self, window: "Window") -> Values:
        values = {self.title: window.tasks / window.seconds}
        if not accounting.IS_HERE:
            return values
        used = window.used
        shares = [used.worker, used.redis, used.postgres]
        each = [share / window.tasks * 1e6 for share in shares]
        return {**values, self.cpu: sum(each), **dict(zip(self.parts, each, strict=True))}


@dataclass(frozen=True, kw_only=True)
class Window:
    """What was measured between two moments."""

    before: int
    """Tasks that had run when it began."""
    tasks: int
    seconds: float
    used: Usage

    def enough(self, seconds: float) -> int:
        """How many tasks there must be so that one lasts this long."""
        if self.seconds <= 0:
            raise Incomplete(f"{self.tasks} tasks took no time")
        return self.before + math.ceil(self.tasks / self.seconds * seconds * SPARE)


def _first(trial: Trial) -> int:
    return trial.size.drain // (5 if trial.system.is_slow else 1)


ONE = Drain(title="drain of no-op tasks")
TWO = Drain(title="drain, two worker processes", processes=2)
MANY = Drain(title="drain, 100 organizations", organizations=100)
TWO_MANY = Drain(title="drain, two processes, 100 organizations", processes=2, organizations=100)
ON_ONE_CPU = Drain(title="drain, the worker on one CPU", on_one_cpu=True)
