"""Whether the tasks of killed workers were taken back in time, where somebody could do so."""

from collections.abc import Iterable, Iterator

from tests.chaos.clocks import LEASE, SETTLES_IN, TAKEN_BACK_WITHIN
from tests.chaos.evidence import Evidence, Life
from tests.chaos.faults import Injected
from tests.chaos.recoveries import Loss, losses

OUTAGES = {"Redis restart", "PostgreSQL restart", "FLUSHALL"}
"""Faults of servers: the time begins again when they are over."""

HINDERS = {"SIGSTOP", "SIGTERM"}
"""Faults after which a worker that has not ended takes nothing back."""


def late(evidence: Evidence) -> Iterator[tuple[Loss, float]]:
    """Losses that were taken back too late, and how long that took without the outages."""
    for fault in evidence.injected:
        for loss in losses(fault, evidence.spans, evidence.attempts):
            since = _since(loss.killed_at, evidence.injected)
            took = loss.taken_back_at - since
            if took > TAKEN_BACK_WITHIN and _somebody_could(since, evidence):
                yield loss, took


def _since(moment: float, injected: Iterable[Injected]) -> float:
    """When the time began: at the kill, or at the end of the outages that followed each other."""
    for fault in sorted(injected, key=lambda one: one.began):
        is_within = fault.began <= moment + TAKEN_BACK_WITHIN
        if fault.name in OUTAGES and is_within:
            moment = max(moment, fault.ended)
    return moment


def _somebody_could(since: float, evidence: Evidence) -> bool:
    """Whether one worker lived and was well from the end of the leases to the last moment."""
    window = since + LEASE, since + TAKEN_BACK_WITHIN
    return any(_is_well(life, *window, evidence.injected) for life in evidence.lives)


def _is_well(life: Life, start: float, end: float, injected: Iterable[Injected]) -> bool:
    # Whoever is new takes nothing back for one lease.
    if life.began + SETTLES_IN + LEASE > start or life.ended < end:
        return False
    return not any(
        fault.name in HINDERS
        and fault.target == life.worker
        and fault.began <= end
        and start - LEASE <= fault.ended
        for fault in injected
    )
