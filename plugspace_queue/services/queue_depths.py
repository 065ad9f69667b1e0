"""The depths of the queues by tier, for graphs: read from Redis, without counting rows."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from plugspace_queue.broker import audit, keys, lanes, routing
from plugspace_queue.broker.connection import DAMAGED, client
from plugspace_queue.broker.lanes import Holding, Line
from plugspace_queue.domain import catalog
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import Unavailable
from plugspace_queue.models import TierPolicy

NONE = "(none)"
"""Stands for no tier; no slug can equal it."""

OTHERS = "(others)"
"""Stands for tasks of organizations that are not listed separately or whose tier is unknown."""


class QueueDepth(NamedTuple):
    """The number of tasks of a type, state and tier (the current one of their organizations)."""

    type: TaskType
    state: str
    tier: str
    tasks: int


def held() -> list[QueueDepth]:
    """The depth of every type, state and tier, including zeros; queues without answer are left out.

    Raises Unavailable when no queue answers.
    """
    slugs = sorted(TierPolicy.objects.values_list("pk", flat=True))
    others, lines = routing.PerServerErrors(), dict[str, Line]()
    for server, queues in routing.by_server(catalog.queue_names()).items():
        with others.collect():
            lines |= lanes.lines_of(server, queues)
    if not lines:
        others.raise_if_any()
        raise Unavailable(DAMAGED)
    found = {kind: lines[kind.queue_name] for kind in TaskType if kind.queue_name in lines}
    names = {name for line in found.values() for holding in line for name in holding.of}
    tiers = _tiers(sorted(names), slugs)
    return [
        QueueDepth(kind, state, slug, counts[slug])
        for kind, line in found.items()
        for state, holding in line._asdict().items()
        for counts in [_by_tier(holding, tiers)]
        for slug in (*slugs, NONE, OTHERS)
    ]


def _by_tier(holding: Holding, tiers: Mapping[str, str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for organization_id, count in holding.of.items():
        counts[tiers[organization_id]] += count
    # The parts were read before the total, which may have decreased meanwhile.
    counts[OTHERS] += max(holding.total - holding.of.total(), 0)
    return counts


def _tiers(organization_ids: Collection[str], slugs: Collection[str]) -> dict[str, str]:
    """The organizations' tiers from their copies in Redis, which the reconciler keeps correct."""
    tiers = audit.texts(client(), [keys.organization_tier(name) for name in organization_ids])
    shown: dict[str | None, str] = {**{slug: slug for slug in slugs}, "": NONE}
    return {
        name: shown.get(text, OTHERS) for name, text in zip(organization_ids, tiers, strict=True)
    }
