"""manage.py queue_explain: why a task is where it is, and until when."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from plugspace_queue.management.base import QueueCommand
from plugspace_queue.manager import queue_manager
from plugspace_queue.schemas.explanation import Explanation, Gate, LinePosition, LiveWorkers, Slots

GATE = "{:<25} {:<8} {:>8} {:>8}  {}"


class Command(QueueCommand):
    """A dry run of the answer that a worker would get; nothing is changed."""

    summary = gettext_lazy("Print why a task waits: gates, slots, its place in line, workers.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID")
        parser.add_argument(
            "--json", action="store_true", help=_("print the JSON of the API, for scripts")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        answer = queue_manager.explain(options["id"])
        if options["json"]:
            self.stdout.write(json.dumps(answer.to_wire()))
            return
        for line in _lines(answer):
            self.stdout.write(line)


def _lines(answer: Explanation) -> Iterator[str]:
    yield _("%(type)s %(id)s of %(organization)s is %(state)s.") % {
        "type": answer.type,
        "id": answer.task_id,
        "organization": answer.organization_id,
        "state": answer.state,
    }
    yield f"{answer.reason}: {answer.sentence}"
    if answer.also:
        yield _("also: %(reasons)s") % {"reasons": ", ".join(answer.also)}
    if answer.looked_at_again_at:
        yield _("next check: %(time)s") % {"time": _time(answer.looked_at_again_at)}
    if answer.expires_at:
        yield _("expires: %(time)s") % {"time": _time(answer.expires_at)}
    for parent in answer.blocked_by:
        name = f"{parent.type} {parent.id} ({parent.state})"
        yield _("depends on: %(task)s") % {"task": name}
    yield from _live_lines(answer)


def _live_lines(answer: Explanation) -> Iterator[str]:
    if answer.gates:
        yield ""
        yield GATE.format(_("gate"), _("verdict"), _("current"), _("limit"), _("opens")).rstrip()
        yield from map(_gate_line, answer.gates)
    if answer.slots:
        yield ""
        yield from _slot_lines(answer.slots)
    if answer.position:
        yield _position_line(answer.position)
    if answer.workers:
        yield _workers_line(answer.workers)


def _gate_line(gate: Gate) -> str:
    cells = [_number(gate.current), _number(gate.limit), _time(gate.retry_at)]
    return GATE.format(gate.gate, gate.verdict, *cells).rstrip()


def _slot_lines(slots: Slots) -> Iterator[str]:
    limit = slots.limit or _("any number")
    yield _("running: %(used)d of %(limit)s") % {"used": slots.used, "limit": limit}
    for holder in slots.holders:
        since = _("since %(time)s") % {"time": _time(holder.since)}
        yield f"  {holder.task_id}  {holder.organization_id}  {holder.worker}  {since}"
    if slots.others:
        yield "  " + _("and %(count)d more") % {"count": slots.others}


def _position_line(position: LinePosition) -> str:
    tasks = ngettext(
        "%(count)d task of its organization",
        "%(count)d tasks of its organization",
        position.tasks_ahead,
    ) % {"count": position.tasks_ahead}
    if position.at_least:
        tasks = _("at least %(tasks)s") % {"tasks": tasks}
    text = _("ahead: %(tasks)s, %(same)d other lanes of its band, %(higher)d lanes of higher bands")
    return text % {
        "tasks": tasks,
        "same": position.organizations_ahead,
        "higher": position.stricter_lines_ahead,
    }


def _workers_line(workers: LiveWorkers) -> str:
    text = _("workers: %(serving)d with %(slots)d slots, %(without)d without a processor")
    line = text % {
        "serving": workers.serving,
        "slots": workers.slots,
        "without": workers.without_processor,
    }
    return _("%(workers)s, all suspended") % {"workers": line} if workers.suspended else line


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else ""
