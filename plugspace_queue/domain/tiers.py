"""The four tiers of a new database; the quotas of a type are in its declaration."""

from dataclasses import dataclass

from plugspace_queue.domain.enums import Tier

UNLIMITED = -1
"""A quota without an end; 0 means none at all."""

LARGEST_QUOTA = 2**63 - 1
"""What a database can compare with a counter."""

LOWEST_PRIORITY = 3


@dataclass(frozen=True, kw_only=True)
class TierDefaults:
    """The initial values of a plan."""

    priority: int
    default_quota: int = UNLIMITED
    """Of types that say nothing of this tier."""


TIERS: dict[Tier, TierDefaults] = {
    Tier.FREE: TierDefaults(priority=3, default_quota=0),
    Tier.STARTER: TierDefaults(priority=2),
    Tier.PROFESSIONAL: TierDefaults(priority=1),
    Tier.ENTERPRISE: TierDefaults(priority=0),
}


def admits(used: int, quota: int, wanted: int = 1) -> bool:
    """Whether `wanted` more fit.

    >>> admits(9, 10), admits(10, 10), admits(10_000, UNLIMITED), admits(0, 0)
    (True, False, True, False)
    """
    return quota == UNLIMITED or used + wanted <= quota


def accepted_priority(tier_priority: int | None, default: int, asked: int | None) -> int | None:
    """The priority fixed at acceptance, or None when `asked` is above what the tier gives.

    0 is the highest. Without a tier the queue's default is the ceiling.

    >>> accepted_priority(1, 2, None), accepted_priority(1, 2, 3), accepted_priority(1, 2, 0)
    (1, 3, None)
    >>> accepted_priority(None, 2, None)
    2
    """
    ceiling = default if tier_priority is None else tier_priority
    if asked is None:
        return ceiling
    return asked if asked >= ceiling else None
