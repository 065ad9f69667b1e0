"""manage.py queue_prune: delete what ended longer ago than the retention of its state."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Dependency, Task, Workflow
from plugspace_queue.models.task import OPEN_VALUES

MILLISECONDS_SHIFT = 80


class Command(BaseCommand):
    """In batches, each in a transaction of its own; a workflow goes as a whole or not at all."""

    help = "Delete final tasks and workflows that are older than RETENTION says."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--batch", type=int, default=500, metavar="ROWS")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1:
            raise CommandError("--batch must be 1 or more.")
        cutoffs = _cutoffs(timezone.now())
        word = "would go" if options["dry_run"] else "deleted"
        for name, rows in _prunable(cutoffs):
            count = rows.count() if options["dry_run"] else _delete(rows, options["batch"])
            self.stdout.write(f"{name}: {count} {word}")


def _cutoffs(now: datetime) -> dict[State, datetime]:
    """Per state the moment before which a task must have ended."""
    retention = get_settings().retention
    return {State(state): now - timedelta(seconds=kept) for state, kept in retention.items()}


def _prunable(cutoffs: Mapping[State, datetime]) -> Iterator[tuple[str, QuerySet[Any]]]:
    for state, cutoff in cutoffs.items():
        yield f"{state} tasks", _lone_tasks(state, cutoff)
    yield "workflows", _workflows(cutoffs)


def _lone_tasks(state: State, cutoff: datetime) -> QuerySet[Task]:
    """Tasks outside workflows that nobody open hangs on: an open child still needs the result."""
    children = Dependency.objects.filter(parent=OuterRef("pk"), task__state__in=OPEN_VALUES)
    rows = Task.objects.ended_before(state, cutoff).filter(~Exists(children), workflow=None)
    return rows.order_by("completed_at")


def _workflows(cutoffs: Mapping[State, datetime]) -> QuerySet[Workflow]:
    """Workflows with steps, all of them ended long enough ago."""
    if not cutoffs:
        return Workflow.objects.none()
    old = Q(pk__in=[])
    for state, cutoff in cutoffs.items():
        old |= Q(state=state, completed_at__lt=cutoff)
    steps = Task.objects.filter(workflow=OuterRef("pk"))
    born_before = _lowest_id(max(cutoffs.values()))
    return Workflow.objects.filter(
        Exists(steps), ~Exists(steps.exclude(old)), pk__lt=born_before
    ).order_by("pk")


def _lowest_id(moment: datetime) -> uuid.UUID:
    """Ids are ordered by time: no row made before `moment` has a higher one."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << MILLISECONDS_SHIFT)


def _delete(rows: QuerySet[Any], batch: int) -> int:
    done = 0
    while ids := list(rows.values_list("pk", flat=True)[:batch]):
        with transaction.atomic():
            # Asked again inside: a retry by hand may have come between.
            still = rows.filter(pk__in=ids).order_by().select_for_update(of=("self",))
            found = list(still.values_list("pk", flat=True))
            rows.model.objects.filter(pk__in=found).only("pk").delete()
        done += len(found)
        if len(ids) < batch:
            break
    return done
