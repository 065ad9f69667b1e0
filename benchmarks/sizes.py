"""How much of everything a run does."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of tasks, and how often each measurement is repeated."""

    runs: int
    drain: int
    """Tasks of the first drain; a fifth of it for slow systems."""
    work: float
    """Seconds that a drain must last: it is repeated with more tasks until it does."""
    pickups: int
    delayed: int
    """Tasks with a time, as many retries, and as many that stay delayed."""
    sleepers: int
    bulk: int
    single: int
    waiting: int
    lines: tuple[int, int, int, int]
    """Tasks and organizations of a short line, then of a long one."""
    rest: float
    """Seconds of rest for an idle worker before pickups."""


FULL = Size(
    runs=5,
    drain=5000,
    work=5.0,
    pickups=100,
    delayed=1000,
    sleepers=400,
    bulk=5000,
    single=2000,
    waiting=5000,
    lines=(1000, 100, 1_000_000, 10_000),
    rest=1.0,
)
QUICK = Size(
    runs=1,
    drain=2000,
    work=1.0,
    pickups=30,
    delayed=1000,
    sleepers=400,
    bulk=2000,
    single=500,
    waiting=1000,
    lines=(1000, 100, 100_000, 10_000),
    rest=0.5,
)
SMOKE = Size(
    runs=1,
    drain=20,
    work=0.0,
    pickups=3,
    delayed=5,
    sleepers=4,
    bulk=20,
    single=5,
    waiting=20,
    lines=(200, 20, 1000, 100),
    rest=0.0,
)
