"""The columns of task types are lengthened while others write, and no row is written anew."""

import psycopg
import pytest

from tests.migrations.test_online_indexes import (
    WRITE,
    Site,
    indexes,
    older,
    site,
    table_file,
    writer,
)
from tests.support import wait_until

__all__ = ["older", "site"]

LENGTHS = """
    SELECT table_name, character_maximum_length FROM information_schema.columns
    WHERE column_name = 'type' AND table_name LIKE 'plugspace_queue_%'
"""
INDEXES = """
    SELECT indexrelid::regclass::text, pg_relation_filenode(indexrelid) FROM pg_index
    WHERE indrelid = 'plugspace_queue_task'::regclass
"""
KNOWN = "SELECT count(*) FROM pg_constraint WHERE conname = 'psq_queue_type_known'"
BEFORE = ("plugspace_queue", "0005")
QUOTAS = "SELECT DISTINCT default_quota FROM plugspace_queue_tierpolicy"


def files(postgres: psycopg.Connection) -> dict[str, int]:
    """Of the table and its indexes; that of a partial index on types is made anew online."""
    found = dict(postgres.execute(INDEXES).fetchall()) | {"": table_file(postgres)}
    return {name: file for name, file in found.items() if name != "psq_task_not_complete"}


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_types_are_lengthened_while_others_write_and_nothing_is_written_anew(site: Site):
    site.migrate(*BEFORE)
    with psycopg.connect(site.url, autocommit=True) as postgres:
        postgres.execute(
            "INSERT INTO plugspace_queue_tierpolicy"
            " (slug, priority, quotas, request_limit, request_window)"
            " VALUES ('free', 3, '{\"CODE\": 5}', 100, 60)"
        )
        before = files(postgres)
        with writer(site) as held:
            migrating = site.start("plugspace_queue", "0006")
            wait_until(lambda: "psq_task_not_complete_all" in indexes(postgres), 30)
            postgres.execute("SET lock_timeout = '1s'")
            postgres.execute(WRITE)
            held.commit()
        site.ends_well(migrating)

        assert files(postgres) == before
        assert indexes(postgres)["psq_task_not_complete"]
        assert "psq_task_not_complete_all" not in indexes(postgres)
        assert {length for _, length in postgres.execute(LENGTHS).fetchall()} == {32}
        assert postgres.execute(KNOWN).fetchone() == (0,)
        # A tier of before lets types without a quota through; new installations have 0 for free.
        assert (-1,) in postgres.execute(QUOTAS).fetchall()


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_migration_goes_back_and_forth_again(site: Site):
    site.migrate("plugspace_queue", "0006")
    site.migrate(*BEFORE)
    site.migrate("plugspace_queue", "0006")

    with psycopg.connect(site.url) as postgres:
        assert postgres.execute(KNOWN).fetchone() == (0,)
