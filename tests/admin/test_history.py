"""Who did what in the admin: each action of an operator is in the history of its row."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from plugspace_queue.domain.enums import State
from plugspace_queue.models import QueueSettings
from tests.admin.test_records import act, rows_of, with_data
from tests.factories import make_task

pytestmark = pytest.mark.django_db


def trace_of(*rows: Model) -> list[tuple[str, str, str]]:
    """Who did what to which of these, in the order in which it happened."""
    noted = LogEntry.objects.filter(object_id__in=[str(row.pk) for row in rows]).order_by("pk")
    return [(n.user.get_username(), n.object_id, n.change_message) for n in noted]


def test_what_operators_did_to_tasks_is_in_their_history(operator: Client):
    waiting, other, ended = make_task(), make_task(), make_task(state=State.COMPLETE)
    done = "Cancelled, or asked to stop."

    act(operator, "cancel_chosen", waiting, other, ended)
    assert sorted(trace_of(waiting, other, ended)) == sorted(
        ("operator", str(task.pk), done) for task in (waiting, other)
    )
    operator.post(reverse("admin:plugspace_queue_task_retry", args=[waiting.pk]))

    assert [what for _, _, what in trace_of(waiting)] == [done, "Queued for retry."]
    history = reverse("admin:plugspace_queue_task_history", args=[waiting.pk])
    assert "Queued for retry." in rows_of(operator, history)


def test_many_tasks_are_noted_together(operator: Client):
    tasks = [make_task(state=State.COMPLETE) for _ in range(3)]
    few = [make_task() for _ in range(3)]

    with CaptureQueriesContext(connection) as asked:
        act(operator, "cancel_chosen", *tasks, *few)

    assert sum('INSERT INTO "django_admin_log"' in query["sql"] for query in asked) == 1
    assert len(trace_of(*tasks, *few)) == 3


def test_what_operators_did_to_workflows_queues_and_organizations_is_noted(root: Client):
    workflow = with_data()
    for name, row in (
        ("queuesettings", QueueSettings.objects.get(type="CODE")),
        ("organization", workflow.organization),
    ):
        address = reverse(f"admin:plugspace_queue_{name}_changelist")
        for action in ("pause_chosen", "resume_chosen"):
            root.post(address, {"action": action, "_selected_action": [str(row.pk)]})
        assert trace_of(row) == [
            ("admin", str(row.pk), "Paused."),
            ("admin", str(row.pk), "Resumed."),
        ]

    address = reverse("admin:plugspace_queue_workflow_changelist")
    root.post(address, {"action": "cancel_chosen", "_selected_action": [str(workflow.pk)]})
    assert trace_of(workflow) == [("admin", str(workflow.pk), "Cancelled, or asked to stop.")]
