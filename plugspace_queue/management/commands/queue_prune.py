"""manage.py queue_prune: delete what ended longer ago than the retention of its state."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import State
from plugspace_queue.management.base import QueueCommand
from plugspace_queue.models import failure_queries, task_queries

MILLISECONDS_SHIFT = 80

KEPT_MINUTES = timedelta(days=14)
"""How long failures can be looked at by time."""

MOST_GROUPS = 10_000
"""Failure groups that are kept, those seen last."""


class Command(QueueCommand):
    """In batches, each in a transaction of its own; a workflow goes as a whole or not at all."""

    summary = gettext_lazy(
        "Delete tasks, workflows and failure groups that are older than the RETENTION of their"
        " state."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help=_("only count"))
        parser.add_argument("--batch", type=int, default=500, metavar="ROWS")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1:
            raise CommandError(_("--batch must be 1 or more."))
        now, is_dry = timezone.now(), options["dry_run"]
        text = (
            _("%(name)s: %(count)d would be deleted")
            if is_dry
            else _("%(name)s: %(count)d deleted")
        )
        for name, rows in _prunable(_cutoffs(now), now):
            count = rows.count() if is_dry else _delete(rows, options["batch"])
            self.stdout.write(text % {"name": name, "count": count})


def _cutoffs(now: datetime) -> dict[State, datetime]:
    """Per state the moment before which a task must have ended."""
    retention = get_settings().retention
    return {State(state): now - timedelta(seconds=kept) for state, kept in retention.items()}


def _prunable(
    cutoffs: Mapping[State, datetime], now: datetime
) -> Iterator[tuple[str, QuerySet[Any]]]:
    for state, cutoff in cutoffs.items():
        yield _("%(state)s tasks") % {"state": state}, task_queries.prunable_tasks(state, cutoff)
    if cutoffs:
        born_before = _lowest_id(max(cutoffs.values()))
        yield _("workflows"), task_queries.prunable_workflows(cutoffs.items(), born_before)
    else:
        yield _("workflows"), task_queries.workflows_by_id([])
    yield _("failure minutes"), failure_queries.prunable_minutes(now - KEPT_MINUTES)
    # As long as their tasks.
    not_seen_since = cutoffs.get(State.FAILED)
    yield _("failure groups"), failure_queries.prunable_groups(not_seen_since, MOST_GROUPS)


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
