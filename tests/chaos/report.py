"""What a run tells in the end: as JSON for programs, as Markdown for people."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from django.utils import timezone

from tests.chaos.evidence import Evidence
from tests.chaos.overlaps import overlaps
from tests.chaos.recoveries import losses, recovery
from tests.chaos.verdict import Violation, told_error

HISTORIES = 12
"""Broken tasks whose whole history is told."""


def as_json(
    evidence: Evidence, found: Sequence[Violation], about: dict[str, Any]
) -> dict[str, Any]:
    """Everything that is reported."""
    states = Counter(task.state for task in evidence.tasks.values())
    attempts = Counter(a.outcome for group in evidence.attempts.values() for a in group)
    broken = list(dict.fromkeys(one.task_id for one in found if one.task_id))
    return {
        **about,
        "calls": _calls(evidence),
        "tasks": len(evidence.tasks),
        "states": dict(states),
        "attempts": dict(attempts),
        "executions": len(evidence.spans),
        "overlaps": [one.cause(evidence.injected) for one in overlaps(evidence.spans)],
        "faults": list(_faults(evidence)),
        "violations": [one._asdict() for one in found],
        "histories": {task_id: history(evidence, task_id) for task_id in broken[:HISTORIES]},
    }


def history(evidence: Evidence, task_id: str) -> list[str]:
    """All that is known about a task, in the order of time."""
    lines = [*_asked(evidence, task_id), *_ran(evidence, task_id), *_recorded(evidence, task_id)]
    return [f"{_clock(moment)} {text}" for moment, text in sorted(lines)]


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    return "\n".join([*_head(report), *_fault_table(report), *_violation_list(report), ""])


def _calls(evidence: Evidence) -> dict[str, dict[str, int]]:
    ordered = sorted(evidence.calls, key=lambda call: call.verb)
    return {
        verb: dict(Counter(call.answer for call in calls))
        for verb, calls in groupby(ordered, key=lambda call: call.verb)
    }


def _faults(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for fault in evidence.injected:
        taken_back = [
            loss.taken_back_at - loss.killed_at
            for loss in losses(fault, evidence.spans, evidence.attempts)
        ]
        yield fault.as_json() | {
            "recovery": recovery(fault, evidence.spans, evidence.tasks),
            "taken_back": max(taken_back, default=None),
        }


def _asked(evidence: Evidence, task_id: str) -> Iterator[tuple[float, str]]:
    for call in evidence.calls:
        if task_id in call.ids:
            yield call.at, f"{call.verb} ({call.name}): {call.answer} {call.code}".rstrip()


def _ran(evidence: Evidence, task_id: str) -> Iterator[tuple[float, str]]:
    for span in evidence.spans:
        if span.key.task_id == task_id:
            where = f"#{span.key.number} on {span.key.worker}, process {span.key.pid}"
            yield span.began, f"begins {where}"
            yield span.seen, f"{'ends' if span.ended else 'last seen'} {where}"


def _recorded(evidence: Evidence, task_id: str) -> Iterator[tuple[float, str]]:
    for one in evidence.attempts.get(task_id, []):
        text = f"recorded #{one.number}: {one.outcome}, {one.worker_name}, fence {one.fence}"
        yield one.ended_at.timestamp(), text
    task = evidence.tasks.get(task_id)
    if task is not None:
        moment = task.completed_at or timezone.now()
        kept = (
            f"row: {task.type} {task.project_id} is {task.state}, {task.attempt_count} attempts,"
            f" {task.recovery_count} recoveries, open_deps {task.open_deps}, fence {task.fence},"
            f" cancel {task.cancel_requested_at}, worker {task.worker_name},"
            f" error {told_error(task)}"
        )
        yield moment.timestamp(), kept


def _head(report: dict[str, Any]) -> Iterator[str]:
    found = len(report["violations"])
    yield f"# Chaos run: {'survived' if not found else f'{found} violations'}"
    yield ""
    yield (
        f"Seed {report['seed']}, {report['seconds']} s, {report['workers']} workers,"
        f" {report['database']}; settled {report['settled']:.1f} s after the last fault."
    )
    yield ""
    yield f"- {report['tasks']} tasks, by state: {_words(report['states'])}"
    yield f"- {report['executions']} executions; recorded attempts: {_words(report['attempts'])}"
    for verb, answers in report["calls"].items():
        yield f"- {verb}: {_words(answers)}"
    causes = Counter(cause or "UNEXPLAINED" for cause in report["overlaps"])
    yield f"- executions at once, by cause: {_words(causes) or 'none'}"
    longest = max((one["recovery"] or 0.0 for one in report["faults"]), default=0.0)
    yield f"- longest time to recover: {longest:.1f} s"
    yield ""


def _fault_table(report: dict[str, Any]) -> Iterator[str]:
    yield "| at | fault | what | lasted | taken back after | ran again after |"
    yield "|---|---|---|---|---|---|"
    for one in report["faults"]:
        began, ended = (one[word] - report["began"] for word in ("began", "ended"))
        cells = [f"{began:.1f} s", one["name"], one["target"], f"{ended - began:.1f} s"]
        cells += [_seconds(one["taken_back"]), _seconds(one["recovery"])]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _violation_list(report: dict[str, Any]) -> Iterator[str]:
    for one in report["violations"]:
        yield f"- **{one['kind']}** {one['task_id']}: {one['text']}"
    for task_id, lines in report["histories"].items():
        yield f"\n## {task_id}\n"
        yield from (f"    {line}" for line in lines)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _clock(moment: float) -> str:
    return f"{moment:.3f}"
