"""Columns and tables are added while others write, and a migration that was killed is run again."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from plugspace_queue.migrations.operations import online_ddl
from plugspace_queue.models import FailureGroup, Task
from tests.migrations.test_online_indexes import (
    WRITE,
    Site,
    database,
    indexes,
    runs,
    table_file,
    writer,
)
from tests.support import wait_until

OLDER = ("plugspace_queue", "0007_declared_workflow_kinds")
ADDED = {"tier", "error_code", "fingerprint"}
NAMES = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE %s"
CONSTRAINTS = "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass"
# As a process of the release before does it, which knows nothing of the new columns.
INSERT = """
    INSERT INTO plugspace_queue_organization (id, name, is_suspended, is_paused, created_at)
    VALUES ('acme', '', false, false, now());
    INSERT INTO plugspace_queue_task (id, type, organization_id, project_id, user_id, priority,
        input, context, state, queued_at, tokens_used, cost, retry_count, max_retries,
        recovery_count, deferral_count, attempt_count, ttl, fence, worker_name, open_deps,
        charged_month)
    VALUES (gen_random_uuid(), 'CODE', 'acme', 'p', 'u', 0, '{}', '{}', 'waiting', now(), 0, 0, 0,
        3, 0, 0, 0, 60, 0, '', 0, '')
"""

postgres_only = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def older(postgres_url: str) -> Iterator[str]:
    """The name of a database as the release before had it."""
    name = f"psq_older_tables_{os.getpid()}"
    with database(postgres_url, name) as url:
        Site(url).migrate("auth")
        Site(url).migrate(*OLDER)
        yield name


@pytest.fixture
def site(postgres_url: str, older: str) -> Iterator[Site]:
    with database(postgres_url, f"psq_tables_{os.getpid()}", template=older) as url:
        yield Site(url)


def found(postgres: psycopg.Connection, sql: str, name: str) -> set[str]:
    return {row[0] for row in postgres.execute(sql, [name]).fetchall()}  # type: ignore[arg-type]


def is_new(postgres: psycopg.Connection) -> bool:
    """Whether all of it is there, with the constraints that follow a table."""
    tables = found(postgres, TABLES, "plugspace_queue_failure%")
    return (
        found(postgres, NAMES, "plugspace_queue_task") >= ADDED
        and indexes(postgres).get("psq_task_failed") is True
        and tables == {"plugspace_queue_failuregroup", "plugspace_queue_failureminute"}
        and any("_fk_" in name for name in found(postgres, CONSTRAINTS, max(tables)))
    )


class TestOnPostgres:
    pytestmark = postgres_only

    def test_a_writer_that_holds_the_table_delays_a_column_and_no_other_writer(self, site: Site):
        with psycopg.connect(site.url, autocommit=True) as postgres:
            file = table_file(postgres)
            with writer(site) as held:
                migrating = site.start()
                wait_until(lambda: runs(postgres, "ALTER TABLE"), 30)
                # It gives up after a second, so that nobody waits behind it for longer.
                postgres.execute("SET lock_timeout = '5s'")
                postgres.execute(WRITE)
                assert migrating.poll() is None
                held.commit()
            site.ends_well(migrating)

            assert is_new(postgres)
            assert table_file(postgres) == file, "the task table was written anew"

    def test_a_migration_killed_in_the_middle_is_completed_by_the_next_one(self, site: Site):
        with psycopg.connect(site.url, autocommit=True) as postgres:
            with writer(site) as held:
                migrating = site.start()
                wait_until(lambda: runs(postgres, "ALTER TABLE"), 30)
                migrating.kill()
                migrating.communicate()
                held.commit()
            # As if it had come to any place: a column, the index, a table.
            postgres.execute(
                "ALTER TABLE plugspace_queue_task"
                " ADD COLUMN IF NOT EXISTS tier varchar(32) DEFAULT '' NOT NULL"
            )
            site.migrate("plugspace_queue", "0008_failures")
            assert is_new(postgres)
            postgres.execute("DELETE FROM django_migrations WHERE name = '0008_failures'")
            postgres.execute("DROP TABLE plugspace_queue_failureminute")
            site.migrate()

            assert is_new(postgres)

    def test_a_process_of_the_release_before_goes_on_inserting(self, site: Site):
        site.migrate()
        with psycopg.connect(site.url, autocommit=True) as postgres:
            postgres.execute(INSERT)
            row = postgres.execute(
                "SELECT tier, error_code, fingerprint FROM plugspace_queue_task"
            ).fetchone()

        assert row == ("", "", "")

    def test_it_goes_back_and_forth(self, site: Site):
        with psycopg.connect(site.url, autocommit=True) as postgres:
            site.migrate()
            site.migrate(*OLDER)
            assert not ADDED & found(postgres, NAMES, "plugspace_queue_task")
            assert found(postgres, TABLES, "plugspace_queue_failure%") == set()
            site.migrate()

            assert is_new(postgres)


@pytest.mark.django_db(transaction=True)
def test_a_column_that_is_there_is_left_alone():
    field = Task._meta.get_field("tier")

    with connection.schema_editor(atomic=False) as editor:
        online_ddl.add_column(editor, Task, field)

    assert Task.objects.count() == 0


@pytest.mark.django_db
def test_the_tables_are_there():
    assert FailureGroup.objects.count() == 0
