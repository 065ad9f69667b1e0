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
