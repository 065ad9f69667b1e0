"""A running attempt: its row, its reports, its stop request."""

import json
import math
import threading
import time
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from plugspace_queue.conf import get_settings
from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.domain.text import clean
from plugspace_queue.services.step_inputs import Results


class StopReason(StrEnum):
    """Why an attempt was asked to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LOST = "lost"


RANK = {StopReason.SHUTDOWN: 0, StopReason.TIMEOUT: 1, StopReason.CANCEL: 1, StopReason.LOST: 2}
"""A reason of higher rank replaces a lower one."""

LONGEST_LINE = 4096
MOST_TOKENS = 10**12
MOST_COST = 10**6
MOST_TOKENS_OF_A_TASK = 2**63 - 1
MOST_COST_OF_A_TASK = 10**10
"""The limits of the columns, which hold the sums over all attempts of a task."""

NOTHING = Decimal(0)


class ProgressSink(Protocol):
    """Receives reported progress; must not block."""

    def progress(self, execution: "Execution") -> None: ...


class Execution:
    """The state of one attempt in the worker. `results` holds the outputs of the task's parents.

    Attributes that most attempts never set have class-level defaults, which makes creation cheap.
    """

    began_at: datetime | None
    """When the processor's timeout started; None while an isolated attempt's process starts."""
    stop_reason: StopReason | None = None
    stop_asked_at: float = 0.0
    stop_from: float = 0.0
    """From when on a shutdown of the worker has to stop it (monotonic)."""
    is_cancelled: bool = False
    """Whether its coroutine was cancelled once; the interruption cancels it again."""
    interrupted_at: float = 0.0
    is_recorded: bool = False
    is_returned: bool = False
    tokens: int = 0
    cost: Decimal = NOTHING
    percent: float | None = None
    stage: str | None = None
    reports: int = 0

    def __init__(
        self,
        row: StartedTask,
        *,
        timeout: float,
        sink: ProgressSink,
        results: Results | None = None,
    ) -> None:
        self.row = row
        self.task_id = row.task_id
        self.fence = row.fence
        self.timeout = timeout
        self.began_at = row.started_at
        self.started = time.monotonic()
        self.results = Results() if results is None else results
        self.log: list[str] = []
        self._sink = sink
        self._lock = threading.Lock()

    @property
    def number(self) -> int:
        """Which attempt of the task this is, from 1."""
        return self.row.attempt_count

    @property
    def context(self) -> dict[str, Any]:
        """The task's position in its chain: earlier tasks, iterations, feedback."""
        context: dict[str, Any] = json.loads(self.row.context_text)
        return context

    @property
    def progress(self) -> dict[str, Any] | None:
        """The progress as stored and sent; None while nothing was reported."""
        if self.percent is None:
            return None
        return {"percent": self.percent, "stage": self.stage}

    def begin(self, now: datetime) -> None:
        """Start the timeout."""
        self.began_at, self.started = now, time.monotonic()

    @property
    def must_stop(self) -> bool:
        """Whether it has to stop now; on a shutdown only after most of the grace time."""
        if self.stop_reason is None or self.stop_reason is StopReason.SHUTDOWN:
            return self.stop_reason is not None and time.monotonic() >= self.stop_from
        return True

    def ask_to_stop(self, reason: StopReason) -> bool:
        """Ask the attempt to stop; False when a reason of this rank was given before."""
        with self._lock:
            if self.stop_reason is not None and RANK[reason] <= RANK[self.stop_reason]:
                return False
            self.stop_reason, self.stop_asked_at = reason, time.monotonic()
            return True

    def try_finish(self) -> bool:
        """Whether the caller is the first to end this attempt; only the first may record it."""
        with self._lock:
            first, self.is_recorded = not self.is_recorded, True
            return first

    def add_log(self, message: str) -> None:
        limit = get_settings().max_log_lines
        if len(self.log) < limit:
            self.log.append(clean(message)[:LONGEST_LINE])
        elif len(self.log) == limit:
            self.log.append(f"(further lines left out: {limit} is the most an attempt keeps)")

    def add_usage(self, tokens: int, cost: Decimal) -> None:
        """Add tokens and cost; raises ValueError, and adds nothing, above the columns' limits."""
        if type(tokens) is not int or not 0 <= tokens <= MOST_TOKENS:
            raise ValueError(f"tokens is a whole number from 0 to {MOST_TOKENS}, not {tokens!r}.")
        if not cost.is_finite() or not 0 <= cost < MOST_COST:
            raise ValueError(f"cost is a number from 0 to below {MOST_COST}, not {cost!r}.")
        with self._lock:
            self._require_room(tokens, cost)
            self.tokens += tokens
            self.cost += cost

    def _require_room(self, tokens: int, cost: Decimal) -> None:
        if self.row.tokens_used + self.tokens + tokens > MOST_TOKENS_OF_A_TASK:
            raise ValueError(f"A task has at most {MOST_TOKENS_OF_A_TASK} tokens in all.")
        # One less, as the database rounds to the column's scale before it checks the limit.
        if self.row.cost + self.cost + cost >= MOST_COST_OF_A_TASK - 1:
            raise ValueError(f"A task costs less than {MOST_COST_OF_A_TASK} in all.")

    def add_progress(self, percent: float, stage: str | None) -> None:
        """Keep the highest percentage; progress never decreases within an attempt.

        A NaN or an infinity (0/0 of an empty list) changes only the stage.
        """
        if not math.isfinite(percent):
            percent = 0.0
        bounded = min(max(float(percent), 0.0), 100.0)
        self.percent = max(bounded, self.percent or 0.0)
        self.stage = clean(stage)[:200] if stage is not None else self.stage
        self._sink.progress(self)
