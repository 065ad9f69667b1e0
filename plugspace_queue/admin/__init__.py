"""The Django admin: operators see every row and steer through the manager."""

from plugspace_queue.admin import (
    audit,
    dashboard,
    organizations,
    queues,
    rq,
    tasks,
    tiers,
    usage,
    workers,
    workflows,
)

__all__ = [
    "audit",
    "dashboard",
    "organizations",
    "queues",
    "rq",
    "tasks",
    "tiers",
    "usage",
    "workers",
    "workflows",
]
