"""Drains: tasks wait, workers go on, and both rate and CPU time per task are taken.

The workers start with nothing to do, run a few tasks and come to rest; they are stopped (SIGSTOP)
while the tasks are submitted, and continued. So no start-up is in the figures. The time ends when
the system itself says that all tasks are complete, so that the last commits and settles are in it.
"""

import math
from dataclasses import dataclass

from benchmarks import accounting
from benchmarks.accounting import Usage
from benchmarks.trial import Trial, Worker

RATE, MICROSECONDS = "tasks/s", "µs"
Values = dict[str, float]

TRIES = 4
"""How often a drain is repeated with more tasks until it lasts long enough."""

WARM = 20
"""Tasks that a worker runs before it is measured."""

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
            if window.lasts(trial.size.work) or not left:
                break
            count = window.enough(trial.size.work)
            trial.counts[trial.system.name, self] = count
            trial = trial.anew()
        return self._values(window)

    def _once(self, trial: Trial, count: int) -> "Window":
        with (
            trial.watch() as watch,
            trial.worker(on_one_cpu=self.on_one_cpu, processes=self.processes) as worker,
        ):
            warm = self._warm(trial, worker)
            worker.settle()
            with worker.stopped():
                trial.produce("load", count, BENCH_ORGANIZATIONS=str(self.organizations))
                before, began = worker.usage(), worker.progress()
            total = warm + count
            worker.await_tasks(warm + 1)
            # A worker that looks for tasks now and then is not asked how soon it does.
            if (first := worker.progress()).tasks < total:
                began = first
            worker.await_tasks(total)
            ended = watch.completed(total)
            used = worker.usage() - before
        rate = (total - began.tasks) / (ended - began.at) * 1e9
        return Window(tasks=count, rate=rate, used=used)

    def _warm(self, trial: Trial, worker: Worker) -> int:
        """Have each process run a task; how many tasks that took."""
        done = 0
        for _ in range(TRIES):
            trial.produce("warm", WARM)
            done += WARM
            worker.await_tasks(done)
            if worker.active() >= self.processes:
                break
        return done

    def _values(self, window: "Window") -> Values:
        values = {self.title: window.rate}
        if not accounting.IS_HERE:
            return values
        used = window.used
        shares = [used.worker, used.redis, used.postgres]
        each = [share / window.tasks * 1e6 for share in shares]
        return {**values, self.cpu: sum(each), **dict(zip(self.parts, each, strict=True))}


@dataclass(frozen=True, kw_only=True)
class Window:
    """What was measured from the moment at which the workers went on."""

    tasks: int
    rate: float
    used: Usage

    def lasts(self, seconds: float) -> bool:
        """Whether it was long enough."""
        return self.tasks >= self.rate * seconds

    def enough(self, seconds: float) -> int:
        """How many tasks there must be so that one lasts this long."""
        return math.ceil(self.rate * seconds * SPARE)


def _first(trial: Trial) -> int:
    return trial.size.drain // (5 if trial.system.is_slow else 1)


ONE = Drain(title="drain of no-op tasks")
TWO = Drain(title="drain, two worker processes", processes=2)
MANY = Drain(title="drain, 100 organizations", organizations=100)
TWO_MANY = Drain(title="drain, two processes, 100 organizations", processes=2, organizations=100)
ON_ONE_CPU = Drain(title="drain, the worker on one CPU", on_one_cpu=True)
