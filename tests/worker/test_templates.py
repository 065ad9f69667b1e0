"""The templates write byte for byte what is made of a row elsewhere."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugspace_queue.broker.task_store import Lease
from plugspace_queue.db.attempts import StartedTask
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName, Outcome, State
from plugspace_queue.events import publish
from plugspace_queue.processing import outcome
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import AttemptResult, Failure
from plugspace_queue.publishing import tasks as publishing
from plugspace_queue.worker import templates
from plugspace_queue.worker.completion import completion_of
from plugspace_queue.worker.post_commit import task_after
from plugspace_queue.worker.state import HeldLease
from tests.worker.conftest import Silent

NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=2))])
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=ZONES) | st.just(
    datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
)
COUNTS = st.integers(0, 9)
ID = "01a23051-e013-76bb-94ec-b5ac8dacba77"
WORKFLOW = "01a23051-e023-7468-b436-28cbe38b5172"
LARGE = "x" * 40_000


@st.composite
def rows(draw: Any) -> StartedTask:
    workflow = draw(st.sampled_from([None, WORKFLOW]))
    values = st.dictionaries(NAMES, VALUES, max_size=3) | st.just({"prompt": LARGE})
    values |= st.just({"prompt": "é" * 900})
    # As PostgreSQL writes it, with blanks.
    return StartedTask(
        task_id=ID,
        fence=1_796_107_001_890_966,
        type="ARCHITECT",
        organization_id=draw(NAMES),
        project_id=draw(NAMES),
        user_id=draw(NAMES),
        workflow_id=workflow,
        step=draw(st.none() | COUNTS) if workflow else None,
        step_name="",
        may_fail=False,
        has_input_from=False,
        priority=draw(st.integers(0, 3)),
        input_text=json.dumps(draw(values), ensure_ascii=draw(st.booleans())),
        context_text=json.dumps(draw(values)),
        error_text=draw(st.sampled_from([None, '{"message": "no", "code": "X", "stack": "s"}'])),
        queued_at=draw(MOMENTS),
        duration=draw(st.none() | COUNTS),
        tokens_used=draw(COUNTS),
        cost=draw(st.sampled_from([Decimal(0), Decimal("0E-8"), Decimal("1.5"), Decimal("1E-8")])),
        retry_count=draw(COUNTS),
        max_retries=draw(COUNTS),
        recovery_count=draw(COUNTS),
        deferral_count=draw(COUNTS),
        attempt_count=draw(COUNTS),
        ttl=3600,
        charged_month="2026-12",
        refunded_at=None,
        worker_name="w1",
        started_at=draw(MOMENTS),
    )


FAILURE = Failure(code="X", message='nö\n"', retryable=False, detail="all", stack="secret")
LATER = datetime(2026, 12, 2, 1, 2, 3, tzinfo=UTC)
ENDS = st.one_of(
    (VALUES | st.just(LARGE) | st.just("x" * 500) | st.just("x" * 2000)).map(outcome.success),
    st.just(outcome.failed(FAILURE)),
    st.just(outcome.cancelled(FAILURE)),
    st.just(AttemptResult(Outcome.RETRY, State.RETRYING, None, FAILURE, LATER, burns_retry=True)),
    st.just(AttemptResult(Outcome.HANDED_BACK, State.WAITING)),
)


def execution_of(row: StartedTask) -> Execution:
    execution = Execution(row, timeout=1.0, sink=Silent())
    execution.percent, execution.stage = 12.5, "Hälfte"
    return execution


@settings(max_examples=60, deadline=None)
@given(rows(), ENDS, MOMENTS)
def test_an_ending_is_settled_as_its_row_says(
    row: StartedTask, result: AttemptResult, now: datetime
) -> None:
    held = HeldLease("architect", Lease(row.task_id, row.fence, "e", row.organization_id, 0))
    one = completion_of(held, execution_of(row), result, now)
    task, at = task_after(one), now.isoformat()

    notes, settlement = templates.settlement(one, at)

    failure = result.failure
    expected = publishing.settlement_of(
        task,
        fence=row.fence,
        outcome=templates.SETTLED[result.outcome],
        due_ms=round(LATER.timestamp() * 1000) if result.wake_at else 0,
        error=failure.message if failure else "",
    )
    data: dict[str, Any] = {"result": task.result} if result.result_text is not None else {}
    if failure is not None:
        data["error"] = {"message": failure.message, "code": "X", "retryable": False}
    names = templates.EVENTS[result.outcome]
    bodies = [publish.payload(name, task, **data) | {"at": at} for name in names]
    texts = [publish.text_for(expected, body) for body in bodies]
    assert settlement == expected._replace(event=texts[-1] if texts else None)
    assert [note.event for note in notes] == texts[:-1]
    assert [json.loads(text) for _, text in templates.event_texts(one, at)] == [
        json.loads(json_text.encode(body)) for body in bodies
    ]


@settings(max_examples=60, deadline=None)
@given(rows())
def test_a_start_and_its_progress_are_told_as_the_row_says(row: StartedTask) -> None:
    execution = execution_of(row)
    task = row.as_task()

    # What was reported before the start is announced stands in its copy.
    task.progress = execution.progress
    started = templates.started_note(execution)
    body = publish.payload(EventName.STARTED, task) | {"at": row.started_at.isoformat()}
    assert started == publishing.note_of(task, event=json_text.encode(body))

    execution.reports, at = 1, LATER.isoformat()
    body = publish.payload(EventName.PROGRESS, task, number=1, progress=task.progress) | {"at": at}
    text = json_text.encode(body)
    assert templates.progress_note(execution, at) == publishing.note_of(
        task, event=text, is_bound=True
    )


@pytest.mark.parametrize("is_recorded", [False, True])
def test_the_copy_of_an_attempt_that_has_ended_is_left_to_its_settle(is_recorded: bool) -> None:
    row = StartedTask(*([None] * len(StartedTask._fields)))._replace(  # type: ignore[arg-type]
        task_id=ID,
        fence=1,
        type="ARCHITECT",
        organization_id="acme",
        project_id="p",
        user_id="u",
        queued_at=LATER,
        started_at=LATER,
        input_text="{}",
        context_text="{}",
        cost=Decimal(0),
    )
    execution = execution_of(row)
    execution.is_recorded = is_recorded

    assert (templates.started_note(execution).snapshot is None) is is_recorded
