"""A commit of starts alone is one pipeline without BEGIN, and atomic all the same."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from django.db import connection, transaction
from django.utils import timezone

from plugspace_queue.broker.task_store import Lease
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from plugspace_queue.processing.execution import Execution
from plugspace_queue.processing.outcome import success
from plugspace_queue.worker.commit import CommitBatch, Locked, write
from plugspace_queue.worker.state import Ended, Guard, HeldLease, RowMessage
from tests.support import wait_until
from tests.worker.conftest import Silent, fresh, meanwhile, submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.postgres]

RECORDING = f"""
    CREATE TABLE psq_noted (setting text);
    CREATE FUNCTION psq_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO psq_noted VALUES (current_setting('synchronous_commit')); RETURN NULL;
    END $$;
    CREATE TRIGGER psq_note AFTER UPDATE ON {Task._meta.db_table}
        FOR EACH ROW EXECUTE FUNCTION psq_note()
"""
SETTINGS = ("synchronous_commit", "lock_timeout", "enable_seqscan")


def test_settings_of_a_start_do_not_outlast_it():
    before = settings()

    write(guarding(task := submit()), "w1")

    assert fresh(task).state == State.PROCESSING
    assert settings() == before == ["on", "0", "on"]


def test_an_ending_waits_for_the_disk_and_a_start_does_not(noted: Callable[[], list[str]]):
    (held,) = (batch := guarding(submit())).guarded
    write(batch, "w1")
    assert noted() == ["off"]

    execution = Execution(batch.started[0], timeout=60.0, sink=Silent())
    write(guarding(submit(), also=[Ended(held, execution, success({}))]), "w1")

    # The ending, and the start that shares its commit.
    assert noted() == ["on", "on"]


def test_one_locked_row_prevents_all_starts_of_its_commit():
    tasks = [submit(), submit()]
    inside, out = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=tasks[1].pk)
            inside.set()
            out.wait(20)

    with meanwhile(hold):
        wait_until(inside.is_set)
        with pytest.raises(Locked):
            write(guarding(*tasks, lock_timeout="50ms"), "w1")
        assert [fresh(task).state for task in tasks] == [State.WAITING, State.WAITING]
        out.set()

    write(guarding(*tasks), "w1")
    assert [fresh(task).state for task in tasks] == [State.PROCESSING, State.PROCESSING]


@pytest.fixture
def noted() -> Iterator[Callable[[], list[str]]]:
    """`synchronous_commit` of each change of a task since the last call."""
    with connection.cursor() as cursor:
        cursor.execute(RECORDING)

    def take() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM psq_noted RETURNING setting")
            return [setting for (setting,) in cursor.fetchall()]

    yield take
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION psq_note CASCADE; DROP TABLE psq_noted")


def settings() -> list[str]:
    with connection.cursor() as cursor:
        columns = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
        cursor.execute(f"SELECT {columns}")
        return list(cursor.fetchone())


def guarding(
    *tasks: Task, lock_timeout: str = "800ms", also: Sequence[RowMessage] = ()
) -> CommitBatch:
    leases = [Lease(str(task.pk), time.time_ns() // 1000, "x", "acme", 2) for task in tasks]
    guard = Guard([HeldLease("architect", lease) for lease in leases])
    return CommitBatch([*also, guard], timezone.now(), lock_timeout)
