"""The Django admin: operators see every row and steer through the manager."""

from plugspace_queue.admin import (
    api_keys,
    attempts,
    audit,
    dashboard,
    idempotency,
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
    "api_keys",
    "attempts",
    "audit",
    "dashboard",
    "idempotency",
    "organizations",
    "queues",
    "rq",
    "tasks",
    "tiers",
    "usage",
    "workers",
    "workflows",
]
