"""Blocked tasks whose parents ended without telling them are found, however many hang on others."""

import uuid

import pytest
from django.db import connection
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance import expiry
from plugspace_queue.maintenance.relay import RowCursor
from plugspace_queue.models import Dependency, Task
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)


def blocked_by(parent):
    task = make_task(state=State.BLOCKED)
    Dependency.objects.create(task=task, parent=parent)
    return task


def test_blocked_tasks_come_round_in_slices(redis, monkeypatch):
    monkeypatch.setattr(expiry, "LOOKED_AT", 2)
    make_organization()
    is_open, complete, failed = (
        make_task(state=state) for state in (State.WAITING, State.COMPLETE, State.FAILED)
    )
    made = [blocked_by(parent) for parent in (is_open, is_open, complete, is_open, failed)]
    rotation = RowCursor([State.BLOCKED])

    freed = [expiry.free_blocked(timezone.now(), rotation) for _ in range(3)]

    assert sum(freed) == 2
    states = [queue_manager.get_task(task.pk).state for task in made]
    assert states == ["blocked", "blocked", "waiting", "blocked", "cancelled"]


def blow_up(parent, state, count, **columns):
    """Rows as the parent's, which hang on it."""
    fields = [field.column for field in Task._meta.concrete_fields]
    values = {"id": "gen_random_uuid()", "state": f"'{state}'"} | columns
    selected = ", ".join(values.get(name, name) for name in fields)
    table = Task._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH made AS (INSERT INTO {table} ({', '.join(fields)}) SELECT {selected}"
            f" FROM {table}, generate_series(1, {count}) WHERE id = %s RETURNING id)"
            f" INSERT INTO {Dependency._meta.db_table} (task_id, parent_id)"
            " SELECT id, %s FROM made",
            [parent.pk, parent.pk],
        )


@pytest.mark.postgres
def test_a_look_at_blocked_tasks_takes_as_long_as_there_are_of_them(redis):
    make_organization()
    parent = make_task(type="CODE")
    blow_up(parent, "failed", 60_000, completed_at="now()")
    blow_up(parent, "blocked", 2_000, open_deps="1", deadline="NULL")
    ids: list[uuid.UUID] = list(
        Task.objects.filter(state=State.BLOCKED).values_list("pk", flat=True)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET statement_timeout = '2s'")

    try:
        assert list(expiry.hanging_among(ids)) == []
        assert "SubPlan" not in expiry.hanging_among(ids).explain()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
