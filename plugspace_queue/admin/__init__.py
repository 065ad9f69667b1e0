"""The Django admin: operators see every row and steer through the manager."""

from plugspace_queue.admin import organizations, queues, rq, tasks, tiers, usage, workflows

__all__ = ["organizations", "queues", "rq", "tasks", "tiers", "usage", "workflows"]
