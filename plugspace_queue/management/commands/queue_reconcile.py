"""manage.py queue_reconcile: compare rows with Redis, and repair what differs."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from plugspace_queue import metrics
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.reconcile import reading
from plugspace_queue.maintenance.reconcile.compare import Place
from plugspace_queue.maintenance.reconcile.confirmation import confirmed
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.repair import repair
from plugspace_queue.management.report import findings_table, places_table, plain

ROUNDS = 3
"""Turns of --fix at most: a repair may bring to light what was hidden by the damage."""

Places = Counter[tuple[str, Place]]


class Command(BaseCommand):
    """A finding counts when a second look, one lease after the first, finds the same."""

    help = (
        "Show for every task that has not ended that it is in exactly one place, and what differs"
        " between rows and Redis. Ends with 1 when something does."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--check", action="store_true", help="only look (the default)")
        mode.add_argument("--fix", action="store_true", help="repair what two looks found")
        parser.add_argument("--queue", metavar="TYPE", help="only this one, e.g. CODE")
        parser.add_argument("--json", action="store_true", help="as JSON, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        kinds = _kinds(options["queue"])
        try:
            places, findings, repaired = self._reconcile(kinds, fix=options["fix"])
        except Unavailable as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise CommandError(error.message + cause) from error
        # This process ends now: nobody else adds what it counted.
        metrics.flush()
        self._write(places, findings, repaired, as_json=options["json"])
        if findings:
            sys.exit(1)

    def _reconcile(
        self, kinds: Sequence[TaskType], *, fix: bool
    ) -> tuple[Places, list[Finding], list[Finding]]:
        """Where tasks are, what is wrong still, what was repaired."""
        repaired: list[Finding] = []
        for _ in range(ROUNDS):
            places, found = self._look(kinds)
            if fix:
                at_once = [finding for finding in found if finding.meaning.at_once]
                found = [finding for finding in found if not finding.meaning.at_once]
                repair(at_once, timezone.now())
                repaired += at_once
            found = confirmed(found, timezone.now(), self._wait)
            if not fix:
                return places, found, []
            if not found and not at_once:
                return places, [], repaired
            repair(found, timezone.now())
            repaired += found
        places, found = self._look(kinds)
        return places, confirmed(found, timezone.now(), self._wait), repaired

    def _look(self, kinds: Sequence[TaskType]) -> tuple[Places, list[Finding]]:
        places: Places = Counter()
        found: list[Finding] = []
        for look in reading.everywhere(timezone.now(), kinds):
            places += look.places
            found += look.findings
            self._progress(f"looked at {places.total()} tasks, found {len(found)}")
        self._progress("")
        return places, found

    def _wait(self, seconds: float) -> None:
        self._progress(f"looking again in {seconds:g} s, when what is under way has ended")
        time.sleep(seconds)
        self._progress("")

    def _progress(self, text: str) -> None:
        """One line that is written over, on a terminal only."""
        if self.stderr.isatty():
            self.stderr.write(f"\r\033[K{text}", ending="")
            self.stderr.flush()

    def _write(
        self,
        places: Places,
        findings: Sequence[Finding],
        repaired: Sequence[Finding],
        *,
        as_json: bool,
    ) -> None:
        if as_json:
            self.stdout.write(json.dumps(plain(places, findings, repaired)))
            return
        self.stdout.write(places_table(places))
        for title, some in (("repaired", repaired), ("found", findings)):
            if some:
                self.stdout.write(f"\n{title}:\n{findings_table(some)}")
        if not findings:
            self.stdout.write("\nEvery task is in exactly one place.")


def _kinds(name: str | None) -> tuple[TaskType, ...]:
    if name is None:
        return tuple(TaskType)
    try:
        return (TaskType(name.upper()),)
    except ValueError:
        raise CommandError(f"--queue is one of {', '.join(TaskType)}.") from None
