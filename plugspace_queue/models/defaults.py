"""The rows a fresh database is born with: the seed's four tiers and six queues."""

from typing import Any

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import TaskType
from plugspace_queue.domain.tiers import TIERS
from plugspace_queue.models.queue import QueueSettings
from plugspace_queue.models.tier import TierPolicy


def create_missing(*, using: str = "default", **kwargs: Any) -> None:
    """Add what is missing and leave alone what operators changed (receiver of post_migrate)."""
    window = get_settings().rate_limit
    TierPolicy.objects.using(using).bulk_create(
        [
            TierPolicy(
                slug=slug,
                priority=plan.priority,
                quotas=plan.quotas,
                request_limit=int(window["max"]),
                request_window=float(window["duration"]),
            )
            for slug, plan in TIERS.items()
        ],
        ignore_conflicts=True,
    )
    QueueSettings.objects.using(using).bulk_create(
        [QueueSettings(type=kind) for kind in TaskType], ignore_conflicts=True
    )
