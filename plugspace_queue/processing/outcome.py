"""The result of an attempt, and the task's next state that follows from it."""

import asyncio
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.client import HTTPException
from random import random
from typing import Any, NamedTuple, Protocol

from django.db import InterfaceError, OperationalError

from plugspace_queue.conf import get_settings, in_force
from plugspace_queue.domain import backoff, json_text
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.domain.fingerprint import LONGEST_CLASS
from plugspace_queue.domain.public_text import public_text
from plugspace_queue.domain.text import clean, fitting, shortened, shortened_within
from plugspace_queue.errors import QueueError, TaskError, TaskTimeout, Unavailable

MESSAGE_LIMIT = 4 * 1024
STACK_LIMIT = 16 * 1024

EXTERNAL: tuple[type[BaseException], ...] = (
    # With its subclasses: connections, time-outs, DNS, TLS, files, `requests`, `urllib`. A wrong
    # path wastes three retries, which is acceptable, as a full disk needs them.
    OSError,
    OperationalError,
    InterfaceError,
    Unavailable,
    HTTPException,
)

EXTERNAL_NAMES = frozenset(
    {
        "aiohttp.client_exceptions.ClientConnectionError",
        "httpx.TransportError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "urllib3.exceptions.HTTPError",
    }
)
"""Base classes of clients' errors that are not OSError; by name, so that nothing is imported."""


class Traceback(Exception):
    """The stack of an exception from another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as stored with the task.

    Tenants may read `message`; `detail` is the full text if that was not written for tenants.
    """

    code: str
    message: str
    retryable: bool
    detail: str = ""
    stack: str = ""
    class_name: str = ""
    """Of the exception; empty when none was raised."""
    retry_after: float | None = None
    refunds: bool = False
    """Whether the task is refunded, whatever `REFUND_ON` says."""
    exception: BaseException | None = field(default=None, compare=False, repr=False)
    """The exception itself, for the log; it is not sent to other processes."""

    def __getstate__(self) -> dict[str, Any]:
        # Some exceptions cannot be pickled, and some that can cannot be unpickled.
        return self.__dict__ | {"exception": None}

    @property
    def whole_message(self) -> str:
        """The message for staff."""
        return self.detail or self.message

    def as_exception(self) -> BaseException:
        """The exception, or an equivalent TaskError with the stack as its cause."""
        if self.exception is not None:
            return self.exception
        kind = TaskTimeout if self.code == TaskTimeout.code else TaskError
        error = kind(self.whole_message, code=self.code, retryable=self.retryable)
        if self.stack:
            error.__cause__ = Traceback(self.stack)
        return error

    def as_json(self) -> dict[str, Any]:
        """The error as a task's row stores it; `stack` and `detail` are for staff."""
        error: dict[str, Any] = {
            "message": self.message,
            "code": self.code,
            "retryable": self.retryable,
        }
        kept: dict[str, Any] = {"stack": self.stack, "detail": self.detail, "refunds": self.refunds}
        return error | {name: text for name, text in kept.items() if text}


def failure_of(error: BaseException, retry_on: tuple[type[BaseException], ...] = ()) -> Failure:
    """Classify an exception: code, retry class, message and stack within their limits."""
    code, retryable = _classify(error, retry_on)
    words, stack, exception = _words_of(error)
    whole = shortened(clean(words), MESSAGE_LIMIT)
    message = whole if isinstance(error, WRITTEN_FOR_TENANTS) else public(whole)
    return Failure(
        code=code,
        message=message,
        retryable=retryable,
        detail=whole if whole != message else "",
        stack=stack_text(stack),
        class_name=fitting(type(error).__name__, LONGEST_CLASS),
        retry_after=_seconds(getattr(error, "retry_after", None)),
        refunds=isinstance(error, TaskError) and error.refunds,
        exception=exception,
    )


def stack_text(lines: Sequence[str]) -> str:
    """A stack, cleaned and shortened for its column; its end, where it was raised, is kept."""
    return shortened_within(clean("".join(lines)), STACK_LIMIT)


WRITTEN_FOR_TENANTS = (TaskError, QueueError)
"""Errors written for tenants; messages of all others may contain paths, hosts and secrets."""


def public(message: str) -> str:
    """The part that tenants may read of a message that was not written for them."""
    return shortened(public_text(message), MESSAGE_LIMIT)


def _words_of(error: BaseException) -> tuple[str, list[str], BaseException | None]:
    """Message, stack, and the error; None instead if it cannot be rendered, as a log would do."""
    name = type(error).__name__
    try:
        return str(error) or name, traceback.format_exception(error), error
    except BaseException:
        # `str(error)` may itself raise anything: fall back to the traceback, so that the slot is
        # never lost. An interruption that arrives here may be dropped: the processor has ended.
        return name, traceback.format_tb(error.__traceback__), None


def _seconds(value: Any) -> float | None:
    """Retry-After from a provider's client, which may be a number, its text, or invalid."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None


def _classify(error: BaseException, retry_on: tuple[type[BaseException], ...]) -> tuple[str, bool]:
    if isinstance(error, TaskError):
        return error.code, error.retryable or isinstance(error, retry_on)
    if isinstance(error, EXTERNAL) or _is_external_by_name(error):
        return "EXTERNAL_SERVICE_ERROR", True
    if isinstance(error, QueueError):
        return error.code, isinstance(error, retry_on)
    if isinstance(error, asyncio.CancelledError):
        # The attempt was not asked to stop, so other code on the event loop cancelled it.
        return "INTERNAL_ERROR", True
    retryable = isinstance(error, retry_on) or get_settings().retry_unknown_errors
    return "INTERNAL_ERROR", retryable


def _is_external_by_name(error: BaseException) -> bool:
    names = {f"{base.__module__}.{base.__name__}" for base in type(error).__mro__}
    return not names.isdisjoint(EXTERNAL_NAMES)


class Retryable(Protocol):
    """The values of a task's row that decide about another attempt."""

    @property
    def type(self) -> str: ...
    @property
    def retry_count(self) -> int: ...
    @property
    def max_retries(self) -> int: ...
    @property
    def deferral_count(self) -> int: ...


class AttemptResult(NamedTuple):
    """How an attempt ended: the task's next state and why.

    A named tuple, as it is cheap to create and every attempt needs one.
    """

    outcome: Outcome
    state: State
    result_text: str | None = None
    """The result as JSON; None unless the task is complete."""
    failure: Failure | None = None
    wake_at: datetime | None = None
    burns_retry: bool = False
    counts_recovery: bool = False


def success(result: Any) -> AttemptResult:
    """The processor returned a valid result, which is strict JSON."""
    return AttemptResult(Outcome.COMPLETE, State.COMPLETE, json_text.encode(result))


def failed(failure: Failure) -> AttemptResult:
    """The task fails; it does not run again."""
    return AttemptResult(outcome=Outcome.FAILED, state=State.FAILED, failure=failure)


def cancelled(failure: Failure) -> AttemptResult:
    return AttemptResult(outcome=Outcome.CANCELLED, state=State.CANCELLED, failure=failure)


def handed_back(task: Retryable) -> AttemptResult:
    """The worker stops: the task returns to the front of its lane, without using a retry."""
    return AttemptResult(outcome=Outcome.HANDED_BACK, state=resting_state(task))


def lost(task: Retryable) -> AttemptResult:
    """Its process died: the task returns to its lane, counts a recovery, and runs isolated next."""
    return AttemptResult(outcome=Outcome.LOST, state=resting_state(task), counts_recovery=True)


def resting_state(task: Retryable) -> State:
    """The state of a task between attempts: `retrying` once one of them has failed."""
    return State.RETRYING if task.retry_count or task.deferral_count else State.WAITING


def after_failure(task: Retryable, failure: Failure, now: datetime) -> AttemptResult:
    """Retry with backoff while the error allows it and retries are left, else fail."""
    if not failure.retryable:
        return failed(failure)
    if failure.code == "RATE_LIMITED" and task.deferral_count < get_settings().max_deferrals:
        return _deferred(task, failure, now)
    if task.retry_count >= task.max_retries:
        return failed(failure)
    return AttemptResult(
        outcome=Outcome.RETRY,
        state=State.RETRYING,
        failure=failure,
        wake_at=now + timedelta(seconds=_wait(task, failure)),
        burns_retry=True,
    )


def _deferred(task: Retryable, failure: Failure, now: datetime) -> AttemptResult:
    wait = backoff.provider_wait(failure.retry_after, _backoff(task.type, task.deferral_count + 1))
    return AttemptResult(
        outcome=Outcome.DEFERRED,
        state=State.RETRYING,
        failure=failure,
        wake_at=now + timedelta(seconds=wait),
    )


def _wait(task: Retryable, failure: Failure) -> float:
    plain = _backoff(task.type, task.retry_count + 1)
    if failure.code == "RATE_LIMITED":
        return backoff.provider_wait(failure.retry_after, plain)
    return plain


def _backoff(task_type: str, retry: int) -> float:
    base, jitter = in_force(task_type, "backoff_delay"), in_force(task_type, "backoff_jitter")
    wait = backoff.delay_for(retry, base=base, jitter=jitter, chance=random())
    return min(wait, backoff.LONGEST)
