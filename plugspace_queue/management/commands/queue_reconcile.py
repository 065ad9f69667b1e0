"""manage.py queue_reconcile: compare rows with Redis, and repair what differs."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue import metrics
from plugspace_queue.broker.routing import PerServerErrors
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.text import clean
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.reconcile.compare import compare_all
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.places import TaskPlace
from plugspace_queue.maintenance.reconcile.repair import repair
from plugspace_queue.maintenance.reconcile.runner import confirm
from plugspace_queue.management.base import QueueCommand

ROUNDS = 3
"""Rounds of --fix at most: a repair may bring to light what was hidden by the damage."""

SHOWN = 3
"""Keys that are named of each code."""

Places = Counter[tuple[str, TaskPlace]]


class Command(QueueCommand):
    """A finding counts when a second comparison, one lease after the first, finds the same."""

    summary = gettext_lazy(
        "Compare rows with Redis: print the place of every open task, and what differs."
        " Exits with 1 when something does."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--check", action="store_true", help=_("only compare (the default)"))
        mode.add_argument("--fix", action="store_true", help=_("repair what two comparisons found"))
        parser.add_argument("--queue", metavar="TYPE", help=_("only this queue, e.g. CODE"))
        parser.add_argument("--json", action="store_true", help=_("print JSON, for scripts"))

    def handle(self, *args: Any, **options: Any) -> None:
        # A queue whose server is away, or whose data is damaged, keeps no other from the report.
        self._errors = PerServerErrors()
        places, findings, repaired = self._reconcile(_kinds(options["queue"]), fix=options["fix"])
        # This process ends now: what it counted must be added before.
        metrics.flush()
        try:
            self._errors.raise_if_any()
        except Unavailable as error:
            if places or findings or repaired:
                self._write(places, findings, repaired, as_json=options["json"], is_whole=False)
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise CommandError(error.message + cause) from error
        self._write(places, findings, repaired, as_json=options["json"])
        if findings:
            sys.exit(1)

    def _reconcile(
        self, kinds: Sequence[TaskType], *, fix: bool
    ) -> tuple[Places, list[Finding], list[Finding]]:
        """Where tasks are, what is wrong still, what was repaired."""
        repaired: list[Finding] = []
        for _round in range(ROUNDS if fix else 0):
            places, found = self._compare(kinds)
            at_once = [finding for finding in found if finding.kind.at_once]
            self._repair(at_once)
            later = self._confirm(finding for finding in found if not finding.kind.at_once)
            if not at_once and not later:
                return places, [], repaired
            self._repair(later)
            repaired += at_once + later
        places, found = self._compare(kinds)
        return places, self._confirm(found), repaired

    def _compare(self, kinds: Sequence[TaskType]) -> tuple[Places, list[Finding]]:
        # What was away in the round before may have been so because of what is repaired by now.
        self._errors = PerServerErrors()
        places: Places = Counter()
        found: list[Finding] = []
        with self._errors.collect():
            for comparison in compare_all(timezone.now(), kinds):
                places += comparison.places
                found += comparison.findings
                text = _("compared %(tasks)d tasks, found %(found)d")
                self._progress(text % {"tasks": places.total(), "found": len(found)})
        self._progress("")
        return places, found

    def _confirm(self, findings: Iterable[Finding]) -> list[Finding]:
        return confirm(findings, timezone.now(), self._wait, self._errors)

    def _repair(self, findings: Sequence[Finding]) -> None:
        with self._errors.collect():
            repair(findings, timezone.now())

    def _wait(self, seconds: float) -> None:
        text = _("comparing again in %(seconds)g s, when running operations have ended")
        self._progress(text % {"seconds": seconds})
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
        is_whole: bool = True,
    ) -> None:
        if as_json:
            self.stdout.write(json.dumps(_plain(places, findings, repaired)))
            return
        self.stdout.write(_places_table(places))
        for title, some in ((_("repaired"), repaired), (_("found"), findings)):
            if some:
                self.stdout.write(f"\n{title}:\n{_findings_table(some)}")
        if not findings and is_whole:
            self.stdout.write("\n" + _("Every task is in exactly one place."))


def _kinds(name: str | None) -> tuple[TaskType, ...]:
    if name is None:
        return tuple(TaskType)
    try:
        return (TaskType(name.upper()),)
    except ValueError:
        text = _("--queue is one of %(types)s.") % {"types": ", ".join(TaskType)}
        raise CommandError(text) from None


def _places_table(places: Places) -> str:
    """One line a queue: how many open tasks are in each place."""
    lines = [["type", *TaskPlace]]
    lines += [
        [kind, *(str(places.get((kind, place), 0)) for place in TaskPlace)] for kind in TaskType
    ]
    return "\n".join("  ".join(f"{cell:>11}" for cell in line) for line in lines)


def _findings_table(findings: Sequence[Finding]) -> str:
    """One line for each code and queue: how many, what is wrong, the first few keys."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.queue, finding.code), []).append(finding)
    return "\n".join(_line(*group, some) for group, some in groups.items())


def _plain(
    places: Places, findings: Sequence[Finding], repaired: Sequence[Finding]
) -> dict[str, Any]:
    """The same for scripts, with every key."""
    return {
        "places": {
            kind.value: {place.value: places.get((kind, place), 0) for place in TaskPlace}
            for kind in TaskType
        },
        "findings": [_plain_finding(finding) for finding in findings],
        "repaired": [_plain_finding(finding) for finding in repaired],
        "kinds": dict(Counter(finding.code for finding in findings)),
    }


def _line(queue: str, code: str, findings: Sequence[Finding]) -> str:
    # A name that another program wrote need not be text.
    named = [clean(f"{f.key} ({f.detail})" if f.detail else f.key) for f in findings[:SHOWN]]
    more = ["…"] if len(findings) > SHOWN else []
    kind = findings[0].kind
    return (
        f"{queue:>11}  {code}  {len(findings)}: {_(kind.text)} → {_(kind.repair)}\n"
        f"{'':>13}{', '.join(named + more)}"
    )


def _plain_finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.code,
        "scope": finding.kind.scope.value,
        "queue": finding.queue,
        "key": finding.key,
        "detail": finding.detail,
        "repair": finding.kind.repair,
    }
