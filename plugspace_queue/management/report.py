"""What a look at rows and Redis found, as tables for people and as plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.text import clean
from plugspace_queue.maintenance.reconcile.compare import Place
from plugspace_queue.maintenance.reconcile.findings import Finding, Kind

SHOWN = 3
"""Keys that are named of each kind."""

Places = Mapping[tuple[str, Place], int]


def places_table(places: Places) -> str:
    """One line a queue: how many open tasks are in each place."""
    lines = [["type", *Place]]
    lines += [[kind, *(str(places.get((kind, place), 0)) for place in Place)] for kind in TaskType]
    return "\n".join("  ".join(f"{cell:>11}" for cell in line) for line in lines)


def findings_table(findings: Sequence[Finding]) -> str:
    """One line a kind and queue: how many, what it means, the first few keys."""
    groups: dict[tuple[str, Kind], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.queue, finding.kind), []).append(finding)
    return "\n".join(_line(*group, some) for group, some in groups.items())


def plain(
    places: Places, findings: Sequence[Finding], repaired: Sequence[Finding]
) -> dict[str, Any]:
    """The same for scripts, with every key."""
    return {
        "places": {
            kind.value: {place.value: places.get((kind, place), 0) for place in Place}
            for kind in TaskType
        },
        "findings": [_plain(finding) for finding in findings],
        "repaired": [_plain(finding) for finding in repaired],
        "kinds": dict(Counter(finding.kind.value for finding in findings)),
    }


def _line(queue: str, kind: Kind, findings: Sequence[Finding]) -> str:
    # Names that somebody else wrote need not be text.
    named = [clean(f"{f.key} ({f.detail})" if f.detail else f.key) for f in findings[:SHOWN]]
    more = ["…"] if len(findings) > SHOWN else []
    meaning = findings[0].meaning
    return (
        f"{queue:>11}  {kind}  {len(findings)}: {meaning.text} → {meaning.repair}\n"
        f"{'':>13}{', '.join(named + more)}"
    )


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "scope": finding.meaning.scope.value,
        "queue": finding.queue,
        "key": finding.key,
        "detail": finding.detail,
        "repair": finding.meaning.repair,
    }
