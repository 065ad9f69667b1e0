"""Indexes change while others write, and a migration that was killed is run again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import NotSupportedError, connection, transaction

from plugspace_queue.migrations.operations import online_ddl
from plugspace_queue.models import Task
from tests.support import wait_until

ROOT = Path(__file__).parents[2]
OLDER = ("plugspace_queue", "0004")
ADDED = {"psq_task_not_complete", "psq_task_workflow"}
BEFORE = {"psq_task_state_type"}
VALID = """
    SELECT indexrelid::regclass::text, indisvalid, indexrelid FROM pg_index
    WHERE indrelid IN ('plugspace_queue_task'::regclass, 'plugspace_queue_attempt'::regclass)
"""
RUNNING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE %s
"""
WRITE = "UPDATE plugspace_queue_task SET step = step"


class Site:
    """A database that a process of its own migrates."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self, *target: str) -> subprocess.Popen[str]:
        command = [sys.executable, "manage.py", "migrate", "--no-input", "-v", "0"]
        return subprocess.Popen(
            [*command, *target],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": self.url},
            stderr=subprocess.PIPE,
            text=True,
        )

    def migrate(self, *target: str) -> None:
        self.ends_well(self.start(*target))

    def ends_well(self, process: subprocess.Popen[str]) -> None:
        _, said = process.communicate()
        assert process.returncode == 0, said


@pytest.fixture(scope="module")
def older(postgres_url: str) -> Iterator[str]:
    """The name of a database as the release before had it."""
    name = f"psq_older_{os.getpid()}"
    with database(postgres_url, name) as url:
        # Permissions are made after each migrate: their table must be complete before ours.
        Site(url).migrate("auth")
        Site(url).migrate(*OLDER)
        yield name


@pytest.fixture
def site(postgres_url: str, older: str) -> Iterator[Site]:
    with database(postgres_url, f"psq_site_{os.getpid()}", template=older) as url:
        yield Site(url)


@contextmanager
def database(server: str, name: str, template: str = "template0") -> Iterator[str]:
    with psycopg.connect(server, autocommit=True) as postgres:
        postgres.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def writer(site: Site) -> Iterator[psycopg.Connection]:
    """A transaction that has written to the table and stays open."""
    with psycopg.connect(site.url) as held:
        held.execute(WRITE)
        yield held


def indexes(postgres: psycopg.Connection) -> dict[str, bool]:
    """Whether each index is complete."""
    return {name: is_valid for name, is_valid, _ in postgres.execute(VALID).fetchall()}


def runs(postgres: psycopg.Connection, statement: str) -> bool:
    (count,) = postgres.execute(RUNNING, [f"{statement}%"]).fetchone() or (0,)
    return bool(count)


def has_begun(postgres: psycopg.Connection) -> bool:
    return indexes(postgres).get("psq_task_not_complete") is False


def table_file(postgres: psycopg.Connection) -> int:
    """Another one after the table was written anew."""
    row = postgres.execute("SELECT pg_relation_filenode('plugspace_queue_task')").fetchone()
    assert row
    return int(row[0])


def is_new(found: dict[str, bool]) -> bool:
    return (
        all(found.get(name) for name in ADDED) and not BEFORE & set(found) and all(found.values())
    )


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_writer_that_holds_the_table_delays_an_index_and_no_other_writer(site: Site):
    with psycopg.connect(site.url, autocommit=True) as postgres:
        file = table_file(postgres)
        with writer(site) as held:
            migrating = site.start()
            wait_until(lambda: has_begun(postgres), 30)
            # The first try timed out and left an incomplete index; the next one drops it.
            wait_until(lambda: runs(postgres, "DROP INDEX CONCURRENTLY"), 30)
            postgres.execute("SET lock_timeout = '1s'")
            postgres.execute(WRITE)
            assert migrating.poll() is None
            held.commit()
        site.ends_well(migrating)

        assert is_new(indexes(postgres))
        assert table_file(postgres) == file, "the task table was written anew"


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_migration_killed_in_the_middle_is_completed_by_the_next_one(site: Site):
    with psycopg.connect(site.url, autocommit=True) as postgres:
        with writer(site) as held:
            migrating = site.start()
            wait_until(lambda: has_begun(postgres), 30)
            migrating.kill()
            migrating.communicate()
            wait_until(lambda: not runs(postgres, "CREATE INDEX CONCURRENTLY"), 30)
            assert has_begun(postgres), "the kill left no incomplete index: nothing is tested"
            held.commit()
        site.migrate()

        assert is_new(indexes(postgres))


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_migration_killed_while_the_server_still_builds_waits_for_that_index(site: Site):
    with psycopg.connect(site.url, autocommit=True) as postgres:
        with writer(site) as held:
            migrating = site.start()
            wait_until(lambda: has_begun(postgres), 30)
            migrating.kill()
            migrating.communicate()
            again = site.start()
            held.commit()
        site.ends_well(again)

        assert is_new(indexes(postgres))


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_index_that_is_complete_is_not_made_again(site: Site):
    with psycopg.connect(site.url, autocommit=True) as postgres:
        postgres.execute(
            "CREATE INDEX psq_task_workflow ON plugspace_queue_task (workflow_id)"
            " WHERE workflow_id IS NOT NULL"
        )
        oids = {name: oid for name, _, oid in postgres.execute(VALID).fetchall()}
        site.migrate()
        again = {name: oid for name, _, oid in postgres.execute(VALID).fetchall()}

        assert again["psq_task_workflow"] == oids["psq_task_workflow"]
        assert is_new(indexes(postgres))


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_on_postgresql_the_migration_goes_back_and_forth(site: Site):
    with psycopg.connect(site.url, autocommit=True) as postgres:
        older = set(indexes(postgres))
        site.migrate()
        newer = set(indexes(postgres))
        site.migrate(*OLDER)
        # The two foreign keys' indexes are back under other names.
        assert len(indexes(postgres)) == len(older)
        assert set(indexes(postgres)) >= BEFORE
        site.migrate()

        assert set(indexes(postgres)) == newer


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_another_app_can_be_migrated_alone_on_a_new_database(tmp_path: Path):
    Site(f"sqlite:///{tmp_path / 'site.sqlite3'}").migrate("auth")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_on_sqlite_the_migration_goes_back_and_forth(tmp_path: Path):
    site = Site(f"sqlite:///{tmp_path / 'site.sqlite3'}")
    site.migrate()
    site.migrate(*OLDER)
    site.migrate()


@pytest.mark.django_db(transaction=True)
def test_an_index_that_is_there_is_left_alone_and_one_that_is_gone_is_no_error():
    index = next(index for index in Task._meta.indexes if index.name == "psq_task_workflow")
    with connection.schema_editor(atomic=False) as editor:
        online_ddl.create(editor, Task, index)
        online_ddl.drop(editor, Task, index.name)
        online_ddl.drop(editor, Task, index.name)
        online_ddl.create(editor, Task, index)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Task._meta.db_table)

    assert index.name in found


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_an_index_is_refused_inside_a_transaction():
    index = Task._meta.indexes[0]
    with (
        transaction.atomic(),
        connection.schema_editor(atomic=False) as editor,
        pytest.raises(NotSupportedError, match="atomic = False"),
    ):
        online_ddl.create(editor, Task, index)
