"""The Django admin: operators see every row, and change them through the manager."""

from plugspace_queue.admin import (
    api_keys,
    audit,
    dashboard,
    failures,
    organizations,
    queues,
    records,
    tasks,
    tiers,
    workers,
    workflows,
)
from plugspace_queue.admin.sites import join_named_site
from plugspace_queue.rq import admin as rq_admin

# RQ's own pages below the admin get our permissions, and the manager behind their buttons.
rq_admin.install()

__all__ = [
    "api_keys",
    "audit",
    "dashboard",
    "failures",
    "organizations",
    "queues",
    "records",
    "tasks",
    "tiers",
    "workers",
    "workflows",
]

join_named_site()
