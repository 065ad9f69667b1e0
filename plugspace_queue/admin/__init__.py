"""The Django admin: operators see every row and steer through the manager."""

from plugspace_queue.admin import (
    api_keys,
    audit,
    dashboard,
    organizations,
    queues,
    records,
    rq,
    tasks,
    tiers,
    workers,
    workflows,
)
from plugspace_queue.admin.sites import join_named_site

__all__ = [
    "api_keys",
    "audit",
    "dashboard",
    "organizations",
    "queues",
    "records",
    "rq",
    "tasks",
    "tiers",
    "workers",
    "workflows",
]

join_named_site()
