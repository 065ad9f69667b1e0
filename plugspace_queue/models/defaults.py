"""The rows that a database has from the start: the four tiers, a row for each queue."""

from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.tiers import TIERS
from plugspace_queue.models.queue import QueueSettings
from plugspace_queue.models.tier import TierPolicy


def create_missing(*, using: str = "default", apps: Apps = installed_apps, **kwargs: Any) -> None:
    """Add missing rows without changing existing ones (receiver of post_migrate)."""
    if not _has_tables(apps):
        return
    window = get_settings().rate_limit
    TierPolicy.objects.using(using).bulk_create(
        [
            TierPolicy(
                slug=slug,
                priority=plan.priority,
                default_quota=plan.default_quota,
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


def _has_tables(apps: Apps) -> bool:
    """Whether the app is migrated: the signal also follows `migrate auth` on a new database, and
    a migration to an earlier state."""
    try:
        return all(
            {field.name for field in apps.get_model(model._meta.label)._meta.fields}
            >= {field.name for field in model._meta.fields}
            for model in (TierPolicy, QueueSettings)
        )
    except LookupError:
        return False
