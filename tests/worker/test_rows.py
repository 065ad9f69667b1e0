"""What an ending says is in its rows to the letter, on either database."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from plugspace_queue.db.attempts import TaskUpdate
from plugspace_queue.db.bulk import finish_all
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.models import Task
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")

NOW = datetime(2026, 11, 24, 12, 30, 15, 123456, tzinfo=UTC)
FENCE = 1_795_553_424_602_189
MOST = 2**63 - 1

RESULTS: list[Any] = [
    None,
    "text",
    "",
    "null",
    '"quoted" \\ and {"json": [1]}',
    0,
    False,
    -1.5e-7,
    [],
    {},
    [[1, [2, None]], "1"],
    {"é": "\u2028 😀 '%s' %% \t", "nested": {"a": [True, None]}},
    MOST,
]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_any_json_is_kept_as_it_was(result: Any) -> None:
    task = running()

    assert written([ending(task, result=result)]) == {(str(task.pk), FENCE)}

    assert fresh(task).result == result
    assert type(fresh(task).result) is type(result)


def test_every_column_of_an_ending_is_kept() -> None:
    task = running()
    told = ending(
        task,
        state=State.FAILED,
        outcome=Outcome.FAILED,
        result_text=None,
        error={"code": "X", "message": 'a "b"', "retryable": False},
        progress={"percent": 12.5, "stage": "Écriture"},
        completed_at=NOW,
        wake_at=NOW,
        duration=MOST,
        tokens_used=MOST,
        cost=Decimal("9999999999.12345678"),
        retry_count=3,
        log=["one", 'two "2"', "null"],
        attempt_tokens=7,
        attempt_cost=Decimal("0.00000001"),
    )

    written([told])

    row, attempt = fresh(task), fresh(task).attempts.get()
    assert (row.error, row.progress, row.duration) == (told.error, told.progress, MOST)
    assert (row.completed_at, row.wake_at, row.tokens_used) == (NOW, NOW, MOST)
    assert (row.state, row.retry_count, row.result) == (State.FAILED, 3, None)
    assert (attempt.log, attempt.error, attempt.ended_at) == (told.log, told.error, NOW)
    assert (attempt.outcome, attempt.tokens_used) == (Outcome.FAILED, 7)
    # SQLite keeps fifteen digits of a decimal.
    assert float(row.cost) == pytest.approx(9999999999.12345678)
    assert attempt.cost == Decimal("0.00000001")


def test_what_a_completed_attempt_has_spent_is_added_to_its_row() -> None:
    task = running()
    Task.objects.filter(pk=task.pk).update(tokens_used=5, cost=Decimal("1.5"), error={"code": "X"})
    told = ending(
        task,
        progress={"percent": 12.5, "stage": "Écriture"},
        duration=MOST,
        tokens_used=12,
        cost=Decimal("1.50000015"),
        attempt_tokens=7,
        attempt_cost=Decimal("1.5E-7"),
        log=["one", 'two "2"', "null"],
    )

    written([told])

    row, attempt = fresh(task), fresh(task).attempts.get()
    assert (row.error, row.progress, row.duration) == (None, told.progress, MOST)
    assert (row.completed_at, row.tokens_used, row.cost) == (NOW, 12, told.cost)
    assert (attempt.log, attempt.error, attempt.ended_at) == (told.log, None, NOW)
    assert (attempt.tokens_used, attempt.cost) == (7, told.attempt_cost)


def test_many_endings_are_kept_each_as_its_own() -> None:
    tasks = [running() for _ in range(30)]

    written([ending(task, result=number) for number, task in enumerate(tasks)])

    assert [fresh(task).result for task in tasks] == list(range(30))


def running() -> Task:
    task = submit()
    Task.objects.filter(pk=task.pk).update(
        state=State.PROCESSING, fence=FENCE, started_at=NOW, worker_name="w1", attempt_count=1
    )
    return task


def written(updates: list[TaskUpdate]) -> set[tuple[str, int]]:
    return set().union(*[answer.take() for answer in finish_all(updates, NOW)])


def ending(task: Task, result: Any = None, **told: Any) -> TaskUpdate:
    base: dict[str, Any] = {
        "state": State.COMPLETE,
        "outcome": Outcome.COMPLETE,
        "result_text": json_text.encode(result),
        "error": None,
        "progress": None,
        "completed_at": NOW,
        "duration": 0,
        "tokens_used": 0,
        "cost": Decimal(0),
        "retry_count": 0,
        "deferral_count": 0,
        "recovery_count": 0,
        "wake_at": None,
        "attempt_tokens": 0,
        "attempt_cost": Decimal(0),
        "log": [],
    }
    return TaskUpdate(task_id=str(task.pk), fence=FENCE, **(base | told))
