"""Saves what Django does at each test and what costs more than most tests themselves.

After a test that commits, Django empties every table and lets each app write its content types and
permissions again. Here these two tables are left alone as long as they hold what Django wrote.

A password takes a quarter of a second to hash, on purpose. Here it takes one round. The number of
rounds stands in each hash, so that child processes accept these.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

from plugspace_queue.models import Task
from plugspace_queue.models.defaults import create_missing

KEPT = (ContentType, Permission)
FEW = 1000
Rows = list[list[tuple[Any, ...]]]

# Django's way; ours goes on from what it has left.
flush: Callable[[TransactionTestCase], None] = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
_written: dict[str, Rows] = {}
"""What Django wrote into the tables that are kept, by the name of the database."""


def install() -> None:
    """Do so in this process."""
    PBKDF2PasswordHasher.iterations = 1
    TransactionTestCase._fixture_teardown = empty  # type: ignore[attr-defined]


def empty(case: TransactionTestCase) -> None:
    """Leave in the database of a test what a new one holds."""
    used = [connections[alias] for alias in case._databases_names(include_mirrors=False)]  # type: ignore[attr-defined]
    if _is_plain(case) and all(_written.get(_name(one)) == _rows(one) for one in used):
        for one in used:
            _empty_others(one)
        return
    flush(case)
    _written.update({_name(one): _rows(one) for one in used} if _is_plain(case) else {})


def _is_plain(case: TransactionTestCase) -> bool:
    # With either of these Django writes other rows again than a new database has.
    return case.available_apps is None and not case.serialized_rollback


def _name(connection: BaseDatabaseWrapper) -> str:
    return str(connection.settings_dict["NAME"])


def _rows(connection: BaseDatabaseWrapper) -> Rows:
    managers = (model._base_manager.using(connection.alias) for model in KEPT)
    return [list(manager.order_by("pk").values_list()) for manager in managers]


def _empty_others(connection: BaseDatabaseWrapper) -> None:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    others = sorted(set(tables) - {model._meta.db_table for model in KEPT})
    connection.ops.execute_sql_flush(_statements(connection, others))
    create_missing(using=connection.alias)


def _statements(connection: BaseDatabaseWrapper, tables: list[str]) -> list[str]:
    if Task.objects.using(connection.alias)[FEW : FEW + 1].exists():
        return list(connection.ops.sql_flush(no_style(), tables))
    # PostgreSQL takes longer to truncate a table than to delete the few rows of a test. Foreign
    # keys are checked at the commit, so the order is free.
    names = [connection.ops.quote_name(table) for table in tables]
    deletes = [f"DELETE FROM {name}" for name in names]
    if connection.vendor == "postgresql":
        # As a truncate does, wait for a thread that still writes: its rows go too.
        return [f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE", *deletes]
    return deletes
