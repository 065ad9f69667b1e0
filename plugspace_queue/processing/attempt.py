"""The work itself: validate the input, call the processor, validate what it returned."""

import json
import traceback
from datetime import datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from plugspace_queue.conf import get_settings
from plugspace_queue.domain import clock
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.domain.text import all_clean
from plugspace_queue.errors import (
    InvalidResult,
    TaskCancelled,
    TaskTimeout,
    ValidationFailed,
    WorkerStopping,
)
from plugspace_queue.models import Task
from plugspace_queue.processing import outcome
from plugspace_queue.processing.context import Context, raise_if_told
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.registry import Processor
from plugspace_queue.processing.run import Run, Told
from plugspace_queue.schemas.inputs import ACCEPTED, INPUTS
from plugspace_queue.workflows.inputs import merge


def run_sync(run: Run, entry: Processor) -> Ending:
    """One attempt in this thread, to its end; never raises."""
    try:
        context = context_of(run)
        returned = entry.function(context)
        return heard(run, outcome.success(checked_result(returned, entry.output)))
    except BaseException as error:
        return ending_of(run, error, entry, clock.now())


async def run_async(run: Run, entry: Processor) -> Ending:
    """One attempt on the event loop, to its end; never raises."""
    try:
        context = context_of(run)
        returned = await entry.function(context)
        return heard(run, outcome.success(checked_result(returned, entry.output)))
    except BaseException as error:
        return ending_of(run, error, entry, clock.now())


def heard(run: Run, ending: Ending) -> Ending:
    """What a value means that came after the attempt was told: nothing after a cancel."""
    if run.told is Told.CANCEL and ending.outcome is Outcome.COMPLETE:
        return outcome.cancelled(cancelled_failure())
    return ending


def context_of(run: Run) -> Context:
    """The processor's context; raises ValidationFailed when the merged input is not valid."""
    raise_if_told(run.told)
    return Context(run, validated_input(run.task, run.results))


def validated_input(task: Task, results: dict[str, Any]) -> BaseModel:
    """The task's input with its parents' outputs, as the pydantic model of its type."""
    merged = merge(task.type, task.input, results)
    try:
        return INPUTS[task.type].model_validate(merged, context=ACCEPTED)
    except ValidationError as error:
        raise ValidationFailed(_told(error)) from error


def checked_result(returned: Any, output: TypeAdapter[Any]) -> Any:
    """The result as strict JSON, valid for the output schema; raises InvalidResult."""
    try:
        # A model returned as it is was validated when it was made; JSON shapes are validated here.
        plain = returned.model_dump(mode="json", by_alias=True) if _is_model(returned) else returned
        # Before the schema, which would make a list of a set and null of NaN.
        text = json.dumps(plain, allow_nan=False)
        valid = output.validate_python(plain)
        dumped = output.dump_python(valid, mode="json", by_alias=True)
    except ValidationError as error:
        raise InvalidResult(_told(error)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResult(f"The result is not strict JSON: {error}") from error
    if len(text) > get_settings().max_result:
        raise InvalidResult(
            f"The result has {len(text)} bytes of JSON; {get_settings().max_result} is the most."
        )
    if not all_clean(dumped):
        raise InvalidResult("The result holds U+0000 or a lone surrogate.")
    return dumped


def ending_of(run: Run, error: BaseException, entry: Processor, now: datetime) -> Ending:
    """What follows from an exception; never raises, or a slot would be lost."""
    try:
        return _by_told(run, error, now) or _ending_of(run, error, entry, now)
    except BaseException as trouble:
        told = f"{type(error).__name__}, which cannot be told: {type(trouble).__name__}"
        failure = outcome.Failure(code="INTERNAL_ERROR", message=told, retryable=False)
        return _by_told(run, trouble, now) or outcome.failed(failure)


def _ending_of(run: Run, error: BaseException, entry: Processor, now: datetime) -> Ending:
    failure = outcome.failure_of(error, entry.retry_on)
    # Once more: to say what the error is may have taken until the attempt was told to stop.
    return _by_told(run, error, now) or outcome.after_failure(run.task, failure, now)


def _by_told(run: Run, error: BaseException, now: datetime) -> Ending | None:
    """Why the attempt was told to stop comes before what it raised."""
    if run.told is Told.CANCEL or isinstance(error, TaskCancelled):
        return outcome.cancelled(cancelled_failure())
    if run.told in (Told.SHUTDOWN, Told.LOST) and _is_stop(error):
        return outcome.handed_back(run.task)
    if run.told is Told.TIMEOUT:
        return outcome.after_failure(run.task, timeout_failure(run, error), now)
    return None


def cancelled_failure() -> outcome.Failure:
    return outcome.Failure(code="CANCELLED", message="The task was cancelled.", retryable=False)


def timeout_failure(run: Run, error: BaseException | None = None) -> outcome.Failure:
    """The failure of an attempt that was told to stop; `error` says where it was by then."""
    message = f"The attempt did not finish within {run.timeout:g} s."
    where = error.__traceback__ if error is not None else None
    return outcome.Failure(
        code="TIMEOUT",
        message=message,
        retryable=True,
        # Not the error's own words: they may be what did not end.
        stack=outcome.stack_text(traceback.format_tb(where)),
        exception=TaskTimeout(message).with_traceback(where),
    )


def _is_stop(error: BaseException) -> bool:
    # An interrupted attempt ends with whatever the interruption raised through its code.
    return isinstance(error, WorkerStopping) or not isinstance(error, Exception)


def _is_model(value: object) -> bool:
    return isinstance(value, BaseModel)


def _told(error: ValidationError) -> str:
    places = [
        f"{'.'.join(str(part) for part in entry['loc']) or '(all of it)'}: {entry['msg']}"
        for entry in error.errors(include_url=False, include_input=False)[:10]
    ]
    return f"Not valid: {'; '.join(places)}"
