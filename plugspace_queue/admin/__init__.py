"""The Django admin: operators see every row and steer through the manager."""

from plugspace_queue.admin import (
    api_keys,
    audit,
    dashboard,
    failures,
    organizations,
    queues,
    records,
    rq,
    tasks,
    tiers,
    workers,
    workflows,
)

__all__ = [
    "api_keys",
    "audit",
    "dashboard",
    "failures",
    "organizations",
    "queues",
    "records",
    "rq",
    "tasks",
    "tiers",
    "workers",
    "workflows",
]
