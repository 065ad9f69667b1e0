"""What the reconciler found, as tables for people and as plain values for scripts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.text import clean
from plugspace_queue.maintenance.reconcile.compare import TaskPlace
from plugspace_queue.maintenance.reconcile.findings import Finding

SHOWN = 3
"""Keys that are named of each code."""

Places = Mapping[tuple[str, TaskPlace], int]


def places_table(places: Places) -> str:
    """One line a queue: how many open tasks are in each place."""
    lines = [["type", *TaskPlace]]
    lines += [
        [kind, *(str(places.get((kind, place), 0)) for place in TaskPlace)] for kind in TaskType
    ]
    return "\n".join("  ".join(f"{cell:>11}" for cell in line) for line in lines)


def findings_table(findings: Sequence[Finding]) -> str:
    """One line for each code and queue: how many, what is wrong, the first few keys."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.queue, finding.code), []).append(finding)
    return "\n".join(_line(*group, some) for group, some in groups.items())


def plain(
    places: Places, findings: Sequence[Finding], repaired: Sequence[Finding]
) -> dict[str, Any]:
    """The same for scripts, with every key."""
    return {
        "places": {
            kind.value: {place.value: places.get((kind, place), 0) for place in TaskPlace}
            for kind in TaskType
        },
        "findings": [_plain(finding) for finding in findings],
        "repaired": [_plain(finding) for finding in repaired],
        "kinds": dict(Counter(finding.code for finding in findings)),
    }


def _line(queue: str, code: str, findings: Sequence[Finding]) -> str:
    # A name that another program wrote need not be text.
    named = [clean(f"{f.key} ({f.detail})" if f.detail else f.key) for f in findings[:SHOWN]]
    more = ["…"] if len(findings) > SHOWN else []
    kind = findings[0].kind
    return (
        f"{queue:>11}  {code}  {len(findings)}: {kind.text} → {kind.repair}\n"
        f"{'':>13}{', '.join(named + more)}"
    )


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.code,
        "scope": finding.kind.scope.value,
        "queue": finding.queue,
        "key": finding.key,
        "detail": finding.detail,
        "repair": finding.kind.repair,
    }
