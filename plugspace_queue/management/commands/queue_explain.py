"""manage.py queue_explain: why a task is where it is, and until when."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from plugspace_queue.errors import QueueError
from plugspace_queue.manager import queue_manager
from plugspace_queue.schemas.explanation import Explanation, Gate, LinePosition, Slots

GATE = "{:<25} {:<8} {:>8} {:>8}  {}"


class Command(BaseCommand):
    """A dry run of what a worker would be answer; nothing is changed."""

    help = "Print why a task waits: gates, slots, its place in line, workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID")
        parser.add_argument("--json", action="store_true", help="as the API tells it, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answer = queue_manager.explain(options["id"])
        except QueueError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(answer.to_wire()))
            return
        for line in _lines(answer):
            self.stdout.write(line)


def _lines(answer: Explanation) -> Iterator[str]:
    yield f"{answer.type} {answer.task_id} of {answer.organization_id} is {answer.state}."
    yield f"{answer.reason}: {answer.sentence}"
    if answer.also:
        yield f"also: {', '.join(answer.also)}"
    if answer.looked_at_again_at:
        yield f"looked at again: {_time(answer.looked_at_again_at)}"
    if answer.expires_at:
        yield f"expires: {_time(answer.expires_at)}"
    for parent in answer.blocked_by:
        yield f"waits for: {parent.type} {parent.id} ({parent.state})"
    yield from _live_lines(answer)


def _live_lines(answer: Explanation) -> Iterator[str]:
    if answer.gates:
        yield ""
        yield GATE.format("gate", "verdict", "current", "limit", "opens").rstrip()
        yield from map(_gate_line, answer.gates)
    if answer.slots:
        yield ""
        yield from _slot_lines(answer.slots)
    if answer.position:
        yield _position_line(answer.position)
    if answer.workers:
        yield (
            f"workers: {answer.workers.serving} with {answer.workers.slots} slots,"
            f" {answer.workers.without_processor} without a processor"
            f"{', all suspended' if answer.workers.suspended else ''}"
        )


def _gate_line(gate: Gate) -> str:
    cells = [_number(gate.current), _number(gate.limit), _time(gate.retry_at)]
    return GATE.format(gate.gate, gate.verdict, *cells).rstrip()


def _slot_lines(slots: Slots) -> Iterator[str]:
    yield f"running: {slots.used} of {slots.limit or 'any number'}"
    for holder in slots.holders:
        yield (
            f"  {holder.task_id}  {holder.organization_id}  {holder.worker}"
            f"  since {_time(holder.since)}"
        )
    if slots.others:
        yield f"  and {slots.others} more"


def _position_line(position: LinePosition) -> str:
    return (
        f"ahead: {'at least ' if position.at_least else ''}{position.tasks_ahead} tasks of its"
        f" organization, {position.organizations_ahead} other lines of its band,"
        f" {position.stricter_lines_ahead} lines of stricter bands"
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else ""
