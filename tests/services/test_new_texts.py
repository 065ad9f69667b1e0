"""Texts of new tasks that templates write are, byte for byte, those that serializers write."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from plugspace_queue.db.insert import unsaved
from plugspace_queue.domain import json_text
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.events import publish
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import added_event, copy_of, new_copy

NOW = datetime(2026, 3, 1, 12, 30, 5, 42, UTC)
STRANGE = 'a "quoted" \\ name, ümläut, \u2028 and 🦀'


def new(**columns: Any) -> Task:
    return unsaved(
        Task,
        **{
            "id": new_id(),
            "type": "ARCHITECT",
            "organization_id": "acme",
            "project_id": "site",
            "user_id": "ann",
            "priority": 2,
            "input": {"prompt": "A bakery"},
            "context": {"previousTasks": [], "iterationCount": 0, "maxIterations": 10},
            "state": State.WAITING,
            "queued_at": NOW,
            "charged_month": "2026-03",
            **columns,
        },
    )


ROWS = {
    "plain": {},
    "strange names": {"project_id": STRANGE, "user_id": STRANGE},
    "whole second": {"queued_at": NOW.replace(microsecond=0)},
    "scheduled": {"state": State.SCHEDULED, "wake_at": NOW + timedelta(hours=1)},
    "step": {"workflow_id": new_id(), "step": 0},
    "blocked step": {
        "workflow_id": new_id(),
        "step": 2,
        "state": State.BLOCKED,
        "open_deps": 1,
        "deadline": None,
    },
    "large input": {"input": {"prompt": STRANGE * 100}},
    "larger than a snapshot": {"input": {"prompt": "x" * 2_000_000}},
    "floats and nothing": {"input": {"a": 1.5, "b": None, "c": 1e300, "d": [True, -0.0]}},
    "other limits": {"ttl": 5, "max_retries": 0, "priority": 0},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_copy_of_a_new_task_is_the_one_of_any_task(name: str):
    task = new(**ROWS[name])

    assert new_copy(task) == copy_of(task)


@pytest.mark.parametrize("name", ROWS)
def test_the_event_of_a_new_task_is_the_one_of_any_event(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    task = new(**ROWS[name])
    monkeypatch.setattr(timezone, "now", lambda: NOW)

    assert added_event(task, NOW) == json_text.encode(publish.payload(EventName.ADDED, task))


def test_an_unsaved_row_is_the_one_that_the_model_makes():
    columns = {name: getattr(new(), name) for name in ("type", "organization_id", "priority")}
    columns |= {"id": new_id(), "input": {}, "context": {}, "queued_at": NOW}

    quick, usual = unsaved(Task, **columns), Task(**columns)

    fields = [field.attname for field in Task._meta.concrete_fields]
    assert [getattr(quick, name) for name in fields] == [getattr(usual, name) for name in fields]
    assert (quick._state.adding, quick._state.db) == (usual._state.adding, usual._state.db)
