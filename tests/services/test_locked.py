"""A database that does not let anybody write: a clear refusal, nothing half done."""

import sqlite3

import pytest
from django.db import connection

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import MonthlyUsage, Task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def locked():
    """The database file, locked by another process's transaction."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL locks rows, not databases")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.execute("ROLLBACK")
    other.close()
    connection.close()


def test_a_locked_database_is_unavailable_and_nothing_is_stored(redis, request):
    queue_manager.set_organization("acme", tier="starter")
    request.getfixturevalue("locked")

    with pytest.raises(errors.Unavailable) as refusal:
        queue_manager.add_task(
            "ARCHITECT",
            project_id="p1",
            user_id="u1",
            organization_id="acme",
            input={"prompt": "a site"},
        )

    assert refusal.value.code == "UNAVAILABLE"
    assert redis.llen(keys.wait("architect")) == 0
    connection.close()
    assert not Task.objects.exists()
    assert not MonthlyUsage.objects.exists()
