"""manage.py queue_explain: a table for people, JSON for scripts."""

import json

import pytest
from django.core.management import CommandError

from plugspace_queue import queue_manager
from plugspace_queue.broker import presence, routing, task_store
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.publishing import projections
from tests.commands.test_operators import run
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def ground() -> None:
    make_organization()
    projections.write_queue(TaskType.ARCHITECT)
    routing.ask(presence.heartbeat("architect", worker="w1", slots=5), "architect")


def test_the_table_tells_gates_slots_place_and_workers():
    first = queue_manager.add_task(**arguments())
    routing.ask(task_store.acquire("architect", worker="w1", want=1, lease_ms=10_000), "architect")
    task = queue_manager.add_task(**arguments())
    queue_manager.pause("ARCHITECT")

    lines = run("queue_explain", str(task.pk)).splitlines()

    assert lines[0] == f"ARCHITECT {task.pk} of acme is waiting."
    assert lines[1] == "queue_paused: The queue architect is paused."
    assert lines[2].startswith("expires: ")
    table = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert table["queue_paused"] == ["shut"]
    assert table["queue_limiter"] == ["open", "1", "100"]
    assert "running: 1 of any number" in lines
    assert table[str(first.pk)][:2] == ["acme", "w1"]
    assert table["ahead:"][:2] == ["0", "tasks"]
    assert lines[-1] == "workers: 1 with 5 slots, 0 without a processor"


def test_a_blocked_task_tells_what_it_waits_for():
    parent = make_task(type="CODE")
    task = queue_manager.add_task(**arguments(depends_on=[parent.pk]))

    lines = run("queue_explain", str(task.pk)).splitlines()

    assert f"depends on: CODE {parent.pk} (waiting)" in lines
    assert not any(line.startswith("gate") for line in lines)


def test_scripts_are_told_what_the_api_tells():
    task = queue_manager.add_task(**arguments())

    told = json.loads(run("queue_explain", str(task.pk), "--json"))

    assert told == queue_manager.explain(task.pk).to_wire()


def test_an_unknown_task_is_refused():
    with pytest.raises(CommandError, match="No task 'nothing' here"):
        run("queue_explain", "nothing")
