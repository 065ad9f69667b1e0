"""A database whose texts are in the order of a language."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.utils import timezone

from plugspace_queue.db import reservations
from plugspace_queue.models import MonthlyUsage, Organization, Override

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

NAME = "psq_in_english"


@pytest.fixture
def in_english() -> Iterator[object]:
    """A cursor of an empty database of the same server, in which "a" comes before "B"."""
    import psycopg

    params = connection.get_connection_params()
    known = {key: params[key] for key in ("host", "port", "user", "password") if key in params}
    with psycopg.connect(**known, dbname="postgres", autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE {NAME} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        )
        try:
            with psycopg.connect(**known, dbname=NAME) as made:
                yield made.cursor()
        finally:
            server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def test_counters_are_locked_in_the_order_of_python_whatever_the_databases_is(in_english):
    usage, organization = MonthlyUsage._meta.db_table, Organization._meta.db_table
    in_english.execute(
        f"CREATE TABLE {usage} (organization_id varchar, type varchar, month varchar, used bigint,"
        " version bigint, UNIQUE (organization_id, type, month))"
    )
    in_english.execute(
        f"CREATE TABLE {organization} (id varchar, is_suspended bool, tier_id varchar)"
    )
    in_english.execute(
        f"CREATE TABLE {Override._meta.db_table} (id bigint, organization_id varchar, type varchar,"
        " key varchar, value bigint, starts_at timestamptz, ends_at timestamptz)"
    )
    ids = sorted(["a", "B", "a-b", "ab", "_", "a_c"])
    for id_ in ids:
        in_english.execute(f"INSERT INTO {organization} VALUES (%s, false, 'free')", [id_])
    types = ("varchar", "varchar", "varchar", "bigint", "bigint", "varchar")
    asked = [value for id_ in ids for value in (id_, "CODE", "2026-01", 1, -1, "free")]

    take = reservations._take(collate=reservations._BY_BYTES)
    in_english.execute(f"{reservations._asked(len(ids), types)} {take}", [*asked, timezone.now()])

    assert [row[0] for row in in_english.fetchall()] == ids
