"""One attempt while it runs: its lease, its row, what it said, whether it was told to stop."""

import math
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.text import clean
from plugspace_queue.models import Task


class Told(StrEnum):
    """Why an attempt was told to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LOST = "lost"


RANK = {Told.SHUTDOWN: 0, Told.TIMEOUT: 1, Told.CANCEL: 1, Told.LOST: 2}
"""A reason of higher rank takes the place of a lower one."""

LONGEST_LINE = 4096
MOST_TOKENS = 10**12
MOST_COST = 10**6
MOST_TOKENS_OF_A_TASK = 2**63 - 1
MOST_COST_OF_A_TASK = 10**10
"""What the columns hold: the sum over all calls of all attempts."""


class ProgressSink(Protocol):
    """Where reported progress goes; must not block."""

    def progress(self, run: "Run") -> None: ...


@dataclass(eq=False)
class Run:
    """The attempt's state in the worker. `fence` is its token, `results` its parents' outputs."""

    task: Task
    fence: int
    timeout: float
    started_at: datetime
    sink: ProgressSink
    results: dict[str, Any] = field(default_factory=dict)
    began_at: datetime | None = field(init=False)
    """When the processor's time began; None while the process of an isolated attempt starts."""
    started: float = field(default_factory=time.monotonic)
    told: Told | None = None
    told_at: float = 0.0
    stop_from: float = 0.0
    """From when on the end of its worker stops it (monotonic)."""
    is_cancelled: bool = False
    """Whether its coroutine was cancelled once; the second time is the interruption."""
    interrupted_at: float = 0.0
    is_recorded: bool = False
    is_returned: bool = False
    log: list[str] = field(default_factory=list)
    tokens: int = 0
    cost: Decimal = Decimal(0)
    percent: float | None = None
    stage: str | None = None
    reports: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.began_at = self.started_at

    def begin(self, now: datetime) -> None:
        """From here on its time counts."""
        self.began_at, self.started = now, time.monotonic()

    @property
    def task_id(self) -> str:
        return str(self.task.pk)

    @property
    def number(self) -> int:
        """Which attempt of the task this is, from 1."""
        return self.task.attempt_count

    @property
    def must_stop(self) -> bool:
        """Whether it is to end now: a worker that ends leaves it most of the grace time."""
        if self.told is None or self.told is Told.SHUTDOWN:
            return self.told is not None and time.monotonic() >= self.stop_from
        return True

    def tell(self, reason: Told) -> bool:
        """Ask the attempt to stop; False when it was told as much before."""
        with self.lock:
            if self.told is not None and RANK[reason] <= RANK[self.told]:
                return False
            self.told, self.told_at = reason, time.monotonic()
            return True

    def claim_record(self) -> bool:
        """Whether the caller is the first to end this attempt; only the first may record it."""
        with self.lock:
            first, self.is_recorded = not self.is_recorded, True
            return first

    def add_log(self, message: str) -> None:
        limit = get_settings().max_log_lines
        if len(self.log) < limit:
            self.log.append(clean(message)[:LONGEST_LINE])
        elif len(self.log) == limit:
            self.log.append(f"(further lines left out: {limit} is the most an attempt keeps)")

    def add_usage(self, tokens: int, cost: Decimal) -> None:
        """Add what was spent; ValueError for what no row could hold: it changes nothing."""
        if type(tokens) is not int or not 0 <= tokens <= MOST_TOKENS:
            raise ValueError(f"tokens is a whole number from 0 to {MOST_TOKENS}, not {tokens!r}.")
        if not cost.is_finite() or not 0 <= cost < MOST_COST:
            raise ValueError(f"cost is a number from 0 to below {MOST_COST}, not {cost!r}.")
        with self.lock:
            self._require_room(tokens, cost)
            self.tokens += tokens
            self.cost += cost

    def _require_room(self, tokens: int, cost: Decimal) -> None:
        if self.task.tokens_used + self.tokens + tokens > MOST_TOKENS_OF_A_TASK:
            raise ValueError(f"A task has at most {MOST_TOKENS_OF_A_TASK} tokens in all.")
        # Rounded to the column's places it must still be below.
        if self.task.cost + self.cost + cost >= MOST_COST_OF_A_TASK - 1:
            raise ValueError(f"A task costs less than {MOST_COST_OF_A_TASK} in all.")

    def add_progress(self, percent: float, stage: str | None) -> None:
        """Keep the highest percentage; progress never goes back within an attempt.

        What is no number (0/0 of an empty list) changes nothing but the stage.
        """
        if not math.isfinite(percent):
            percent = 0.0
        bounded = min(max(float(percent), 0.0), 100.0)
        self.percent = max(bounded, self.percent or 0.0)
        self.stage = clean(stage)[:200] if stage is not None else self.stage
        self.sink.progress(self)
