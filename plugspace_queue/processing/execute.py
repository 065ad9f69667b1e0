"""Runs a processor: validates its input, calls it, validates its result."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any

from django.utils import translation
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from plugspace_queue.conf import get_settings
from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.domain import clock
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.domain.fields import sources_of, with_outputs
from plugspace_queue.domain.kinds import kinds
from plugspace_queue.domain.shapes import Shape, shape_of
from plugspace_queue.domain.task_types import of_row
from plugspace_queue.domain.text import all_clean
from plugspace_queue.errors import (
    InvalidResult,
    OutdatedInput,
    TaskCancelled,
    TaskTimeout,
    WorkerStopping,
)
from plugspace_queue.processing import outcome
from plugspace_queue.processing.context import Context, raise_if_stopped
from plugspace_queue.processing.execution import Execution, StopReason
from plugspace_queue.processing.outcome import AttemptResult
from plugspace_queue.processing.registry import Processor, own_outputs
from plugspace_queue.schemas.base import ACCEPTED
from plugspace_queue.services.step_inputs import Results, merge


def run_sync(execution: Execution, entry: Processor) -> AttemptResult:
    """Run one attempt in this thread; never raises."""
    try:
        returned = entry.function(context_of(execution))
        result = outcome.success(checked_result(returned, entry.output))
        return unless_cancelled(execution, result)
    except BaseException as error:
        return result_of_error(execution, error, entry, clock.now())


async def run_async(execution: Execution, entry: Processor) -> AttemptResult:
    """Run one attempt on the event loop; never raises."""
    try:
        returned = await entry.function(context_of(execution))
        result = outcome.success(checked_result(returned, entry.output))
        return unless_cancelled(execution, result)
    except BaseException as error:
        return result_of_error(execution, error, entry, clock.now())


def unless_cancelled(execution: Execution, result: AttemptResult) -> AttemptResult:
    """The result, or a cancellation if a value was returned after a cancel."""
    if execution.stop_reason is StopReason.CANCEL and result.outcome is Outcome.COMPLETE:
        return outcome.cancelled(cancelled_failure())
    return result


def context_of(execution: Execution) -> Context:
    """The processor's context; raises ValidationFailed when the merged input is not valid."""
    raise_if_stopped(execution.stop_reason)
    return Context(execution, validated_input(execution))


def validated_input(execution: Execution) -> Any:
    """The task's input with its parents' outputs, as its type's model has it."""
    row = execution.row
    merged = merge(row.type, json.loads(row.input_text), execution.results)
    if row.has_input_from:
        merged = made_input(row, merged, execution.results)
    try:
        return input_shape(row.type).validate(merged, context=ACCEPTED)
    except ValidationError as error:
        return upgraded(row.type, merged, error)


def upgraded(task_type: str, data: dict[str, Any], error: ValidationError) -> Any:
    """An input that does not fit the model any more, brought into today's form by its type.

    Raises OutdatedInput when the type does not, or not into a valid one.
    """
    kind = of_row(task_type)
    upgrade = kind.declaration.upgrade
    if upgrade is None:
        raise OutdatedInput(_summary(error)) from error
    try:
        shape = input_shape(task_type)
        return shape.validate(shape.as_data(upgrade(data)), context=ACCEPTED)
    except ValidationError as still:
        raise OutdatedInput(_summary(still)) from still
    except Exception as failure:
        raise OutdatedInput(f"The upgrade of a stored input of {task_type} failed.") from failure


def input_shape(task_type: str) -> Shape[Any]:
    """How the input of a type is validated; its fields take what processors really return."""
    shape = of_row(task_type).input
    own = own_outputs() if sources_of(shape.type) else {}
    model = with_outputs(shape.type, own) if own else shape.type
    return shape if model is shape.type else shape_of(model)


def made_input(row: StartedTask, input: dict[str, Any], results: Results) -> dict[str, Any]:
    """What `input_from` of a workflow's step makes of its input; raises what that raises."""
    kind = kinds().get(results.kind)
    step = kind and kind.step_named(row.step_name)
    if not step or step.input_from is None:
        raise OutdatedInput(
            f"The kind {results.kind} has no input_from for its step {row.step_name} any more:"
            " declare it until its workflows have ended."
        )
    made = step.input_from(input, dict(results))
    if not isinstance(made, Mapping):
        raise OutdatedInput(f"input_from of the step {row.step_name} returns no mapping.")
    return dict(made)


def _valid(plain: Any, text: str, output: TypeAdapter[Any]) -> Any:
    try:
        return output.validate_json(text)
    except ValidationError as error:
        # Pydantic's JSON parser refuses what is nested deeper than its limit; a schema may not.
        if error.errors(include_url=False)[0]["type"] != "json_invalid":
            raise
        return output.validate_python(plain)


def checked_result(returned: Any, output: TypeAdapter[Any]) -> Any:
    """The result as strict JSON, valid for the output schema; raises InvalidResult."""
    try:
        # A returned model was validated when it was created; plain JSON is validated here.
        plain = _plain(returned)
        # Checked before the schema, which would convert a set to a list and NaN to null.
        text = json.dumps(plain, allow_nan=False)
        # As JSON, where strict models take the texts of times, enumerations and ids.
        valid = _valid(plain, text, output)
        dumped = output.dump_python(valid, mode="json", by_alias=True)
    except ValidationError as error:
        raise InvalidResult(_summary(error)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResult(f"The result is not strict JSON: {error}") from error
    if len(text) > get_settings().max_result:
        raise InvalidResult(
            f"The result has {len(text)} bytes of JSON; {get_settings().max_result} is the most."
        )
    if not all_clean(dumped):
        raise InvalidResult("The result holds U+0000 or a lone surrogate.")
    return dumped


def result_of_error(
    execution: Execution, error: BaseException, entry: Processor, now: datetime
) -> AttemptResult:
    """The result of an attempt that raised; never raises itself, or the slot would be lost."""
    try:
        by_reason = _by_stop_reason(execution, error, now)
        return by_reason or _by_error(execution, error, entry, now)
    except BaseException as trouble:
        message = f"{type(error).__name__}, which has no readable message: {type(trouble).__name__}"
        failure = outcome.Failure(code="INTERNAL_ERROR", message=message, retryable=False)
        return _by_stop_reason(execution, trouble, now) or outcome.failed(failure)


def _by_error(
    execution: Execution, error: BaseException, entry: Processor, now: datetime
) -> AttemptResult:
    failure = outcome.failure_of(error, entry.retry_on)
    # Checked again, as `str(error)` may have run for so long that a stop was requested meanwhile.
    by_reason = _by_stop_reason(execution, error, now)
    return by_reason or outcome.after_failure(execution.row, failure, now)


def _by_stop_reason(
    execution: Execution, error: BaseException, now: datetime
) -> AttemptResult | None:
    """The result by the stop reason, which takes precedence over the error; None without one."""
    reason = execution.stop_reason
    if reason is StopReason.CANCEL or isinstance(error, TaskCancelled):
        return outcome.cancelled(cancelled_failure())
    if reason in (StopReason.SHUTDOWN, StopReason.LOST) and _is_stop(error):
        return outcome.handed_back(execution.row)
    if reason is StopReason.TIMEOUT:
        return outcome.after_failure(execution.row, timeout_failure(execution, error), now)
    return None


def abandoned(execution: Execution, now: datetime) -> AttemptResult:
    """The result of an attempt that was asked to stop and has not returned."""
    if execution.stop_reason is StopReason.CANCEL:
        return outcome.cancelled(cancelled_failure())
    if execution.stop_reason is StopReason.TIMEOUT:
        return outcome.after_failure(execution.row, timeout_failure(execution), now)
    return outcome.handed_back(execution.row)


def cancelled_failure() -> outcome.Failure:
    return outcome.Failure(code="CANCELLED", message="The task was cancelled.", retryable=False)


def timeout_failure(execution: Execution, error: BaseException | None = None) -> outcome.Failure:
    """The failure of an attempt that timed out; `error` gives the stack at that moment."""
    message = f"The attempt did not finish within {execution.timeout:g} s."
    where = error.__traceback__ if error is not None else None
    return outcome.Failure(
        code="TIMEOUT",
        message=message,
        retryable=True,
        # Without `str(error)`, which may be the call that did not return.
        stack=outcome.stack_text(traceback.format_tb(where)),
        exception=TaskTimeout(message).with_traceback(where),
    )


def _is_stop(error: BaseException) -> bool:
    # An interruption may reach us as any BaseException, as it passes through the processor's code.
    return isinstance(error, WorkerStopping) or not isinstance(error, Exception)


def _plain(returned: Any) -> Any:
    if isinstance(returned, BaseModel):
        return returned.model_dump(mode="json", by_alias=True)
    is_instance = is_dataclass(returned) and not isinstance(returned, type)
    return to_jsonable_python(returned, by_alias=True) if is_instance else returned


def _summary(error: ValidationError) -> str:
    # It is stored: English, whatever language is in force. Only here are the messages made.
    with translation.override(None):
        places = [
            f"{'.'.join(str(part) for part in entry['loc']) or '(all of it)'}: {entry['msg']}"
            for entry in error.errors(include_url=False, include_input=False)[:10]
        ]
    return f"Not valid: {'; '.join(places)}"
