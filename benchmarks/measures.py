"""What is measured, in which unit, on which systems."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import delays, drains, job, processes
from benchmarks.drains import MICROSECONDS, RATE, Drain, Values
from benchmarks.systems.base import System
from benchmarks.systems.bullmq import NODE, NODE_POSTGRES, PORT, PORT_POSTGRES
from benchmarks.systems.celery import CELERY
from benchmarks.systems.dramatiq import DRAMATIQ
from benchmarks.systems.huey import HUEY
from benchmarks.systems.ours import Ours
from benchmarks.systems.procrastinate import PROCRASTINATE
from benchmarks.systems.rq_simple import SimpleWorker
from benchmarks.trial import Trial

MS, SECONDS, MIB, BYTES, TIMES = "ms", "s", "MiB", "bytes", "x"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A procedure, the figures that it gives (name to unit), and who takes part.

    Ratios are against the first system.
    """

    key: str
    figures: Mapping[str, str]
    systems: tuple[System, ...]
    run: Callable[[Trial], Values]
    is_once: bool = False
    """Not repeated, because it takes the middle of many rounds itself."""


def pickup(trial: Trial) -> Values:
    """An idle worker gets one task at a time: from the commit's return to its first line."""
    with trial.worker() as worker:
        trial.produce("warm", 3)
        worker.await_tasks(3)
        time.sleep(trial.size.rest)
        answer = trial.produce("paced", trial.size.pickups)
        stamps, returns = answer["stamps"], answer["returns"]
        worker.await_tasks(3 + len(stamps))
    waits = sorted((record.started - stamps[record.number]) / 1e6 for record in trial.records())
    publishing = statistics.median(
        (end - at) / 1e6 for at, end in zip(stamps, returns, strict=True)
    )
    half = statistics.median(waits)
    return {
        PICKUP_HALF: half,
        PICKUP_MOST: _most(waits),
        PICKUP_PUBLISH: publishing,
        PICKUP_AFTER: half - publishing,
    }


def delayed(trial: Trial) -> Values:
    """From due until in line: tasks with a time, 10 ms apart, then retries, all at once.

    As many again are due in an hour, so that there are always as many delayed ones.
    """
    count = trial.size.delayed
    with trial.worker() as worker:
        trial.produce("warm", 3)
        worker.await_tasks(3)
        trial.ask(processes.python("manage.py", "bench_later", str(count)))
        with_a_time = delays.lateness(trial.redis, count)
        worker.await_tasks(3 + count)
        trial.produce("load", count, job.BUSY)
        retries = delays.lateness(trial.redis, count)
        worker.await_tasks(3 + 2 * count)
    return {DUE_MOST: _most(with_a_time), BACKOFF_MOST: _most(retries)}


def sleepers(trial: Trial) -> Values:
    """Tasks of 100 ms at 50 slots, from the first start to the last end."""
    trial.produce("load", trial.size.sleepers, job.SLEEP)
    with trial.worker() as worker:
        worker.await_tasks(trial.size.sleepers)
    starts = sorted(record.started for record in trial.records())
    span, first = _span(trial), (starts[: job.SLOTS][-1] - starts[0]) / 1e9
    ideal = math.ceil(len(starts) / job.SLOTS) * job.SLEEP_SECONDS
    return {SLEEPERS: span, SLEEPERS_FIRST: first, SLEEPERS_BETWEEN: span - ideal - first}


def bulk(trial: Trial) -> Values:
    """One producer, calls of 500."""
    return _submitted(trial, "bulk", trial.size.bulk, (BULK, BULK_OWN, BULK_SERVERS))


def single(trial: Trial) -> Values:
    """One producer, one task after the other."""
    return _submitted(trial, "single", trial.size.single, (SINGLE, SINGLE_OWN, SINGLE_SERVERS))


def memory(trial: Trial) -> Values:
    """Resident memory of a worker with all slots busy, forked helpers included."""
    base = trial.resident_when_idle()
    count = 10 if trial.system.is_slow else trial.size.sleepers
    trial.produce("load", count, job.SLEEP)
    with trial.worker() as worker:
        peak = worker.peak_until(count)
    return {MEMORY: peak, MEMORY_OVER: peak - base}


def waiting(trial: Trial) -> Values:
    """Redis memory per task that waits, with all that is kept about it."""
    before = _used(trial)
    trial.produce("load", trial.size.waiting)
    return {WAITING: (_used(trial) - before) / trial.size.waiting}


def acquire(trial: Trial) -> Values:
    """Redis's own time for giving a lease, from a short line and from a long one, in turns.

    The growth is that of one lease or of sixteen in a call, whichever is greater.
    """
    sizes = map(str, trial.size.lines)
    answer = trial.ask(processes.python("manage.py", "bench_acquire", *sizes))
    one, sixteen = answer["1"], answer["16"]
    return {
        ACQUIRE_SHORT: one[0],
        ACQUIRE_LONG: one[1],
        ACQUIRE_BATCH_SHORT: sixteen[0],
        ACQUIRE_BATCH_LONG: sixteen[1],
        ACQUIRE_GROWTH: max(long / short for short, long in (one, sixteen)),
    }


def _submitted(trial: Trial, verb: str, count: int, names: tuple[str, str, str]) -> Values:
    """Tasks per second, and µs of a task on the producer's CPU and waiting for the servers."""
    answer = trial.produce(verb, count)
    seconds, own = answer["seconds"], answer["cpu"]
    figures = (count / seconds, own / count * 1e6, (seconds - own) / count * 1e6)
    return dict(zip(names, figures, strict=True))


def _most(values: list[float]) -> float:
    """The 99th percentile of sorted values."""
    return values[max(round(len(values) * 0.99) - 1, 0)]


def _span(trial: Trial) -> float:
    """Seconds from the first start to the last end."""
    done = trial.records()
    return (max(one.ended for one in done) - min(one.started for one in done)) / 1e9


def _used(trial: Trial) -> int:
    return int(trial.redis.info("memory")["used_memory"])


DRAIN, TWO, MANY = drains.ONE.title, drains.TWO.title, drains.MANY.title
PICKUP_HALF = "pickup by an idle worker, p50"
PICKUP_MOST = "pickup by an idle worker, p99"
PICKUP_PUBLISH = "pickup, of it until the submit returns, p50"
PICKUP_AFTER = "pickup, of it after the submit returned, p50"
DUE_MOST = "from a task's time until in line, p99"
BACKOFF_MOST = "from a backoff's end until in line, p99"
SLEEPERS = "400 tasks of 100 ms at 50 slots"
SLEEPERS_FIRST = "the same, until 50 have started"
SLEEPERS_BETWEEN = "the same, between an end and the next start, in all"
BULK = "bulk submit, calls of 500"
SINGLE = "single submit"
BULK_OWN, BULK_SERVERS = "bulk submit, own CPU per task", "bulk submit, waits per task"
SINGLE_OWN, SINGLE_SERVERS = "single submit, own CPU", "single submit, waits for servers"
MEMORY = "worker's memory, all slots busy"
MEMORY_OVER = "the same, over the loaded code"
WAITING = "Redis memory per waiting task"
ACQUIRE_SHORT = "acquire of one task, short line"
ACQUIRE_LONG = "acquire of one task, long line"
ACQUIRE_BATCH_SHORT = "acquire of 16 tasks, short line"
ACQUIRE_BATCH_LONG = "acquire of 16 tasks, long line"
ACQUIRE_GROWTH = "acquire, the long line over the short one"

THREADS = Ours()
ASYNC = Ours(style="async")
SQLITE = Ours(database="SQLite")
SQLITE_ASYNC = Ours(database="SQLite", style="async")
KEEPING = Ours(keeps=True, detail="threads, appendonly")
GATED = Ours(has_gates=True, detail="all gates")
UNLIMITED = Ours(detail="no request limit")
SQLITE_GATED = Ours(database="SQLite", has_gates=True, detail="all gates")
SQLITE_UNLIMITED = Ours(database="SQLite", detail="no request limit")
RQ = SimpleWorker()

DURABLE: tuple[System, ...] = (PROCRASTINATE, PORT_POSTGRES, NODE_POSTGRES)
"""Peers whose tasks are rows."""
BULK_CALL: tuple[System, ...] = (CELERY, PORT, NODE)
"""Peers in Redis with a call for many."""
IN_REDIS: tuple[System, ...] = (*BULK_CALL, DRAMATIQ, HUEY)
PEERS = (*IN_REDIS, *DURABLE)
"""All that can run 50 tasks at once; SimpleWorker runs one."""

SUBMITTING = (GATED, UNLIMITED, SQLITE_GATED, SQLITE_UNLIMITED, RQ)


def _drain(key: str, drain: Drain, *systems: System) -> Measure:
    return Measure(key=key, figures=drain.figures, systems=systems, run=drain)


MEASURES = (
    _drain("drain", drains.ONE, THREADS, ASYNC, SQLITE, SQLITE_ASYNC, KEEPING, RQ, *PEERS),
    _drain("drain-2", drains.TWO, THREADS, ASYNC, SQLITE, RQ, *PEERS),
    _drain("drain-100", drains.MANY, THREADS, ASYNC, SQLITE),
    _drain("drain-2-100", drains.TWO_MANY, THREADS, ASYNC, SQLITE),
    _drain("one-cpu", drains.ON_ONE_CPU, THREADS, ASYNC, SQLITE, SQLITE_ASYNC, RQ, *PEERS),
    Measure(
        key="pickup",
        figures=dict.fromkeys((PICKUP_HALF, PICKUP_MOST, PICKUP_PUBLISH, PICKUP_AFTER), MS),
        systems=(THREADS, ASYNC, SQLITE, RQ, *PEERS),
        run=pickup,
    ),
    Measure(
        key="delayed",
        figures={DUE_MOST: MS, BACKOFF_MOST: MS},
        systems=(THREADS, SQLITE),
        run=delayed,
    ),
    Measure(
        key="sleepers",
        figures=dict.fromkeys((SLEEPERS, SLEEPERS_FIRST, SLEEPERS_BETWEEN), SECONDS),
        systems=(THREADS, ASYNC, SQLITE, *PEERS),
        run=sleepers,
    ),
    Measure(
        key="bulk",
        figures={BULK: RATE, BULK_OWN: MICROSECONDS, BULK_SERVERS: MICROSECONDS},
        systems=(*SUBMITTING, *BULK_CALL, *DURABLE),
        run=bulk,
    ),
    Measure(
        key="single",
        figures={SINGLE: RATE, SINGLE_OWN: MICROSECONDS, SINGLE_SERVERS: MICROSECONDS},
        systems=(*SUBMITTING, *PEERS),
        run=single,
    ),
    Measure(
        key="memory",
        figures={MEMORY: MIB, MEMORY_OVER: MIB},
        systems=(THREADS, ASYNC, RQ, *PEERS),
        run=memory,
    ),
    Measure(
        key="waiting",
        figures={WAITING: BYTES},
        systems=(SQLITE, RQ, *IN_REDIS),
        run=waiting,
    ),
    Measure(
        key="acquire",
        figures={
            ACQUIRE_SHORT: MICROSECONDS,
            ACQUIRE_LONG: MICROSECONDS,
            ACQUIRE_BATCH_SHORT: MICROSECONDS,
            ACQUIRE_BATCH_LONG: MICROSECONDS,
            ACQUIRE_GROWTH: TIMES,
        },
        systems=(THREADS,),
        run=acquire,
        is_once=True,
    ),
)
