"""The wire form of a task: the documented names, and small enough for Redis."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from django.test import override_settings

from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from plugspace_queue.schemas.task import agent_task, snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOCUMENTED = {
    "id",
    "type",
    "projectId",
    "organizationId",
    "userId",
    "priority",
    "input",
    "context",
    "status",
    "metrics",
    "retryCount",
    "maxRetries",
    "ttl",
}


def full_task(**fields: object) -> Task:
    values = {
        "type": "CODE",
        "organization_id": "acme",
        "project_id": "site",
        "user_id": "ann",
        "priority": 2,
        "input": {"options": {"includeTests": True}},
        "context": {"previousTasks": [], "iterationCount": 0, "maxIterations": 5},
        "queued_at": NOW,
        "cost": Decimal("0.25"),
    }
    return Task(**(values | fields))


def test_the_snapshot_is_the_agent_task_as_json():
    ended = {
        "state": State.FAILED,
        "started_at": NOW,
        "completed_at": NOW,
        "duration": 12,
        "error": {"message": "no", "code": "TIMEOUT", "retryable": True},
        "progress": {"percent": 40.0, "stage": "drawing"},
        "result": {"a": 1},
    }

    for task in (full_task(), full_task(**ended)):
        assert json.loads(snapshot(task)) == agent_task(task).to_wire()


def test_every_documented_name_is_on_the_wire():
    told = agent_task(full_task()).to_wire()

    assert set(told) >= DOCUMENTED
    assert told["metrics"] == {
        "queuedAt": "2026-03-01T12:00:00Z",
        "tokensUsed": 0,
        "cost": 0.25,
        "currency": "USD",
    }


@override_settings(PLUGSPACE_QUEUE={"SNAPSHOT_LIMIT": 100})
def test_what_is_too_large_for_redis_is_left_out_with_a_note():
    told = json.loads(snapshot(full_task(input={"text": "x" * 200}, result={"b": "y" * 200})))

    assert told["input"] is None
    assert told["inputOmitted"] is True
    assert told["result"] is None
    assert told["resultOmitted"] is True
