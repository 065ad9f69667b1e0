"""Fills a migrated, empty PostgreSQL database with a month's work: a million tasks in a minute."""

from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task
from plugspace_queue.publishing import projections
from plugspace_queue.publishing import tasks as publishing

SQL = Path(__file__).parent / "fill.sql"
OWNER = "operator"
PUBLISHED_AT_ONCE = 500


def fill(tasks: int) -> None:
    """Rows of every table, statistics as a server in use has them, and the open ones in Redis."""
    with connection.cursor() as cursor:
        for statement in statements(tasks, owner().pk):
            cursor.execute(statement)
        cursor.execute("ANALYZE" if connection.in_atomic_block else "VACUUM ANALYZE")
    for kind in TaskType:
        projections.write_queue(kind)
    publish()


def statements(tasks: int, user: int) -> list[str]:
    """The file's statements for so many tasks."""
    text = SQL.read_text(encoding="utf-8").format(
        tasks=int(tasks), user=int(user), now=timezone.now().isoformat()
    )
    return [statement.strip() for statement in text.split("\n----\n")]


def owner() -> Any:
    """A superuser, who did what the audit tells and may see every page."""
    users = get_user_model().objects
    return users.filter(username=OWNER).first() or users.create_superuser(OWNER)


def publish() -> None:
    """Put the open rows in their lines."""
    rows = Task.objects.filter(state__in=sorted(lifecycle.STARTABLE)).order_by("pk")
    some: list[Task] = []
    for task in rows.iterator(PUBLISHED_AT_ONCE):
        some.append(task)
        if len(some) == PUBLISHED_AT_ONCE:
            publishing.publish(some)
            some = []
    publishing.publish(some)
