"""manage.py queue_prune: delete what ended longer ago than the retention of its state."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from plugspace_queue.broker import removal
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.catalog import find
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import NAME, RESERVED
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import task_queries

MILLISECONDS_SHIFT = 80


class Command(BaseCommand):
    """In batches, each in a transaction of its own; a workflow goes as a whole or not at all."""

    help = "Delete final tasks and workflows that are older than RETENTION says."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--batch", type=int, default=500, metavar="ROWS")
        parser.add_argument(
            "--dropped",
            metavar="TYPE",
            help="only remove what Redis holds of a task type that is not declared any more",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1:
            raise CommandError("--batch must be 1 or more.")
        if options["dropped"]:
            self._remove_dropped(options["dropped"].upper(), options["batch"], options["dry_run"])
            return
        cutoffs = _cutoffs(timezone.now())
        word = "would go" if options["dry_run"] else "deleted"
        for name, rows in _prunable(cutoffs):
            count = rows.count() if options["dry_run"] else _delete(rows, options["batch"])
            self.stdout.write(f"{name}: {count} {word}")

    def _remove_dropped(self, task_type: str, batch: int, is_dry: bool) -> None:
        if find(task_type) is not None:
            raise CommandError(f"{task_type} is declared: its queue is in use, nothing is removed.")
        if not NAME.match(task_type) or task_type in RESERVED:
            raise CommandError(f"{task_type} can be no task type.")
        rows = task_queries.tasks_matching(type=task_type)
        if is_dry:
            self.stdout.write(f"{task_type}: its queue and copies of {rows.count()} tasks would go")
            return
        try:
            removed = _remove_keys(task_type, rows, batch)
        except Unavailable as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{task_type}: {removed} keys removed")


def _remove_keys(task_type: str, rows: QuerySet[Any], batch: int) -> int:
    removed, last = removal.remove_queue(task_type), uuid.UUID(int=0)
    while ids := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:batch]):
        removed += removal.remove_tasks(task_type, [str(pk) for pk in ids])
        last = ids[-1]
    return removed


def _cutoffs(now: datetime) -> dict[State, datetime]:
    """Per state the moment before which a task must have ended."""
    retention = get_settings().retention
    return {State(state): now - timedelta(seconds=kept) for state, kept in retention.items()}


def _prunable(cutoffs: Mapping[State, datetime]) -> Iterator[tuple[str, QuerySet[Any]]]:
    for state, cutoff in cutoffs.items():
        yield f"{state} tasks", task_queries.prunable_tasks(state, cutoff)
    if cutoffs:
        born_before = _lowest_id(max(cutoffs.values()))
        yield "workflows", task_queries.prunable_workflows(cutoffs.items(), born_before)
    else:
        yield "workflows", task_queries.workflows_by_id([])


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
            rows.model._default_manager.filter(pk__in=found).only("pk").delete()
        done += len(found)
        if len(ids) < batch:
            break
    return done
