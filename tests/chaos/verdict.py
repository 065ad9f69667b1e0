"""The invariants of a run, one function each: what they find wrong, by task."""

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Outcome, State
from plugspace_queue.limits.quota import Account
from plugspace_queue.models import Attempt, Task
from tests.chaos.calls import ACCEPTED, LEAK, REFUSED
from tests.chaos.clocks import STARTS_WITHIN
from tests.chaos.deadlines import late
from tests.chaos.evidence import Entries, Evidence
from tests.chaos.fleet import Departure
from tests.chaos.overlaps import overlaps

ENDS = {Outcome.COMPLETE, Outcome.FAILED, Outcome.CANCELLED}
"""Outcomes of an attempt after which there is no other."""


class Violation(NamedTuple):
    """A promise that was broken; `task_id` is empty when it is no single task's."""

    kind: str
    task_id: str
    text: str


def violations(evidence: Evidence) -> list[Violation]:
    """All that is wrong."""
    return [found for check in CHECKS for found in check(evidence)]


def accepted_once(evidence: Evidence) -> Iterator[Violation]:
    """What was accepted is there, what was refused is not, and nothing is there twice."""
    made: dict[str, list[str]] = defaultdict(list)
    for task_id, task in evidence.tasks.items():
        made[task.user_id].append(task_id)
    for call in evidence.submits():
        for task_id in set(call.ids) - set(made[call.name]):
            yield Violation("lost", task_id, f"{call.name} was accepted and is not there")
        found = len(made[call.name])
        allowed = {ACCEPTED: {call.size}, REFUSED: {0}}.get(call.answer, {0, call.size})
        if found not in allowed:
            text = f"{call.name} ({call.verb}, {call.answer}) has {found} tasks, not {allowed}"
            yield Violation("not once", (made[call.name] or [""])[0], text)


def ended(evidence: Evidence) -> Iterator[Violation]:
    """Every task is in a final state."""
    for task_id, task in evidence.tasks.items():
        if not task.is_final:
            yield Violation("not ended", task_id, f"is {task.state}")


def one_outcome(evidence: Evidence) -> Iterator[Violation]:
    """One recorded end per run that was accepted; the row says what its last attempt says."""
    retries = evidence.retries()
    for task_id, task in evidence.tasks.items():
        attempts = evidence.attempts.get(task_id, [])
        endings = [one for one in attempts if one.outcome in ENDS]
        if len(endings) > 1 + retries.get(task_id, 0):
            yield Violation("outcome", task_id, f"{len(endings)} ends were recorded")
        elif task.is_final and (text := _disagrees(task, attempts)):
            yield Violation("outcome", task_id, text)


def _disagrees(task: Task, attempts: list[Attempt]) -> str:
    """What the row says that its last attempt does not."""
    last = attempts[-1].outcome if attempts else ""
    must = {State.COMPLETE: Outcome.COMPLETE, State.FAILED: Outcome.FAILED}.get(State(task.state))
    completed = sum(one.outcome == Outcome.COMPLETE for one in attempts)
    if completed != (task.state == State.COMPLETE):
        return f"is {task.state} with {completed} complete attempts"
    if must is None or last == must or _code(task) == "WORKER_LOST":
        return ""
    return f"is {task.state}, its last attempt {last or 'none'}"


def attempts_are_closed(evidence: Evidence) -> Iterator[Violation]:
    """Each start has an end on record, and none is left running."""
    # The answer to a start's commit may be lost with the database: that one never ran.
    may_miss = any(fault.name == "PostgreSQL restart" for fault in evidence.injected)
    for task_id, task in evidence.tasks.items():
        found = len(evidence.attempts.get(task_id, []))
        if found > task.attempt_count or (found < task.attempt_count and not may_miss):
            text = f"{task.attempt_count} starts, {found} ends on record"
            yield Violation("attempts", task_id, text)


def expected_end(evidence: Evidence) -> Iterator[Violation]:
    """Work that is asked to succeed does, unless somebody cancelled it or it waited too long."""
    may_be_cancelled = _cancelled(evidence) | _hanging(evidence)
    hurried = {call.name for call in evidence.submits() if call.ttl is not None}
    for task_id, task in evidence.tasks.items():
        allowed = {ENDINGS[task.project_id.split("-")[0]]}
        allowed |= {"CANCELLED"} if task_id in may_be_cancelled else set()
        allowed |= {"EXPIRED"} if task.user_id in hurried else set()
        if task.is_final and _code(task) not in allowed:
            text = f"{task.project_id} ended as {_code(task) or 'complete'}: {told_error(task)}"
            yield Violation("ending", task_id, text)


ENDINGS = {"work": "", "busy": "", "fail": "VALIDATION_ERROR", "crash": "WORKER_LOST"}
"""The error code each script ends with."""


def _cancelled(evidence: Evidence) -> set[str]:
    calls = (call for call in evidence.calls if call.verb == "cancel")
    return {call.ids[0] for call in calls if call.answer != REFUSED}


def _hanging(evidence: Evidence) -> set[str]:
    """Tasks whose parents did not complete, now or before they were retried."""
    retried = evidence.retries()
    return {
        child
        for child, parents in evidence.parents.items()
        for parent in parents
        if parent in retried or evidence.tasks[parent].state != State.COMPLETE
    }


def told_error(task: Task) -> str:
    """Code and message, without the stack."""
    error = task.error or {}
    return f"{error.get('code', '')} {error.get('message', '')}"[:300].strip()


def _code(task: Task) -> str:
    return str((task.error or {}).get("code", ""))


def used_is_charged_minus_refunded(evidence: Evidence) -> Iterator[Violation]:
    """The counter is what its ledger says, for every organization, type and month."""
    for account in evidence.used.keys() | evidence.ledger.keys():
        used, entries = evidence.used.get(account, 0), evidence.ledger.get(account, Entries())
        charged = entries.submitted + entries.retried
        if used != charged - entries.refunded:
            text = f"{account}: used {used}, charged {charged}, refunded {entries.refunded}"
            yield Violation("ledger", "", text)


def each_task_is_charged_once(evidence: Evidence) -> Iterator[Violation]:
    """As many units were reserved by submits as there are tasks."""
    rows = Counter(_account(task) for task in evidence.tasks.values())
    charged: Counter[Account] = Counter()
    for account, entries in evidence.ledger.items():
        charged[account._replace(month="")] += entries.submitted
    for account in charged.keys() | rows.keys():
        if charged[account] != rows[account]:
            text = f"{account[:2]}: {rows[account]} tasks, {charged[account]} charged"
            yield Violation("ledger", "", text)


def _account(task: Task) -> Account:
    # Without the month: a retry in the next one moves a task's charge there.
    return Account(task.organization_id, task.type, "")


def refunds(evidence: Evidence) -> Iterator[Violation]:
    """Given back is what ended without ever having started, and what system failures ended."""
    refund_on = get_settings().refund_on
    for task_id, task in evidence.tasks.items():
        never_ran = task.state in (State.CANCELLED, State.EXPIRED) and task.started_at is None
        is_owed = bool(task.charged_month) and (never_ran or _code(task) in refund_on)
        if task.is_final and is_owed != (task.refunded_at is not None):
            told = "is owed a refund" if is_owed else "was refunded without reason"
            yield Violation("refund", task_id, f"{told}: {task.state}, started {task.started_at}")
    returned, marked = _returned(evidence)
    retried = sum(evidence.retries().values())
    if not marked <= returned <= marked + retried:
        yield Violation("refund", "", f"{returned} units given back for {marked} tasks")


def _returned(evidence: Evidence) -> tuple[int, int]:
    """Units given back by the ledger, and tasks that are marked so."""
    marked = sum(task.refunded_at is not None for task in evidence.tasks.values())
    return sum(entries.refunded for entries in evidence.ledger.values()), marked


def lifetime_counts(evidence: Evidence) -> Iterator[Violation]:
    """The counters of completed and failed tasks are those of their attempts.

    A count that was held up goes with the worker that owed it, if that is killed: then a few may
    be missing, never too many.
    """
    may_miss = any(one.code == -signal.SIGKILL for one in evidence.departures)
    completed, failed = Counter[str](), Counter[str]()
    for task_id, attempts in evidence.attempts.items():
        kind = evidence.tasks[task_id].type
        completed[kind] += sum(one.outcome == Outcome.COMPLETE for one in attempts)
        failed[kind] += sum(one.outcome == Outcome.FAILED for one in attempts)
    for kind, counts in evidence.counts.items():
        is_short = counts[0] < completed[kind] or counts[1] < failed[kind]
        if counts[0] > completed[kind] or (is_short and not may_miss):
            text = f"{kind} counts {counts}, attempts {(completed[kind], failed[kind])}"
            yield Violation("counts", "", text)


def nothing_is_left(evidence: Evidence) -> Iterator[Violation]:
    """No lease, no id and no lane is left in Redis, and no snapshot lies."""
    for key, size in evidence.left.items():
        yield Violation("left in Redis", "", f"{key} holds {size}")
    for task_id, state in evidence.stale.items():
        is_now = evidence.tasks[task_id].state
        yield Violation("snapshot", task_id, f"says {state}, the row is {is_now}")


def no_overlap(evidence: Evidence) -> Iterator[Violation]:
    """No task ran twice at once, unless a fault explains it."""
    for one in overlaps(evidence.spans):
        if not one.cause(evidence.injected):
            a, b = one.first.key, one.second.key
            text = f"#{a.number} on {a.worker} and #{b.number} on {b.worker} ran at once"
            text += f" from {one.began:.2f} to {one.until:.2f}"
            yield Violation("overlap", a.task_id, text)


def workers_ended_well(evidence: Evidence) -> Iterator[Violation]:
    """No worker ended by itself, and those that were told to did, with 0."""
    poisoned = {
        span.key.worker
        for span in evidence.spans
        if not span.ended and _script(evidence, span.key.task_id) == "crash"
    }
    for one in evidence.departures:
        if one.code not in _expected(one, evidence, by_poison=one.worker in poisoned):
            text = f"{one.worker} ended with {one.code} ({one.trouble or 'by itself'})"
            yield Violation("worker", "", f"{text} after {one.took:.1f} s")


def _expected(one: Departure, evidence: Evidence, *, by_poison: bool) -> set[int]:
    """Exit codes that are as they should be."""
    is_starting = one.lived - _frozen(one, evidence) < STARTS_WITHIN
    told_to_stop = {0, -signal.SIGTERM} if is_starting else {0}
    codes = {"SIGKILL": {-9}, "SIGTERM": told_to_stop}.get(one.trouble, set())
    # One that cannot reach its servers when it starts gives up; its supervisor starts another.
    gives_up = is_starting and any(
        fault.name in OUTAGES and one.at - one.lived <= fault.ended and fault.began <= one.at
        for fault in evidence.injected
    )
    return codes | ({-9} if by_poison else set()) | ({1} if gives_up else set())


OUTAGES = {"Redis restart", "PostgreSQL restart"}


def _frozen(one: Departure, evidence: Evidence) -> float:
    """Seconds of its life in which it was held still."""
    return sum(
        fault.ended - fault.began
        for fault in evidence.injected
        if fault.name == "SIGSTOP" and fault.target == one.worker
    )


def _script(evidence: Evidence, task_id: str) -> str:
    task = evidence.tasks.get(task_id)
    return task.project_id.split("-")[0] if task else ""


def taken_back_in_time(evidence: Evidence) -> Iterator[Violation]:
    """Tasks of a killed worker are somebody else's two leases later, outages not counted."""
    for loss, took in late(evidence):
        text = f"#{loss.number} died with {loss.worker} and was taken back {took:.1f} s later"
        yield Violation("recovery", loss.task_id, text)


def only_promised_errors(evidence: Evidence) -> Iterator[Violation]:
    """Callers get errors of the package, none of a driver."""
    for call in evidence.calls:
        if call.code.startswith(LEAK):
            yield Violation("leak", (call.ids or [""])[0], f"{call.verb} raised {call.code}")


CHECKS: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (
    accepted_once,
    ended,
    one_outcome,
    attempts_are_closed,
    expected_end,
    used_is_charged_minus_refunded,
    each_task_is_charged_once,
    refunds,
    lifetime_counts,
    nothing_is_left,
    no_overlap,
    workers_ended_well,
    taken_back_in_time,
    only_promised_errors,
)
