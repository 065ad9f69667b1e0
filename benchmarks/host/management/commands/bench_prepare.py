"""Migrates an empty database and fills in what every measurement finds there."""

from typing import Any

from django.core.management import BaseCommand, call_command

from benchmarks.host.processors import SLOTS
from plugspace_queue import TaskType
from plugspace_queue.models import Organization, QueueSettings, TierPolicy

PLENTY = 1_000_000_000
ORGANIZATIONS = 100


class Command(BaseCommand):
    """Run once per database; measurements get copies."""

    help = "Prepare a database for the benchmarks."

    def handle(self, *args: Any, **options: Any) -> None:
        """`acme` and a hundred others on enterprise, `metered` on a tier with limits far away."""
        call_command("migrate", verbosity=0)
        row, _ = QueueSettings.objects.get_or_create(type=TaskType.ARCHITECT)
        row.concurrency = SLOTS
        row.limiter_max = PLENTY
        row.save()
        tier = TierPolicy.objects.create(
            slug="plenty",
            priority=0,
            quotas={kind.value: PLENTY for kind in TaskType},
            request_limit=PLENTY,
        )
        Organization.objects.create(id="metered", tier=tier)
        for name in ("acme", *(f"drain-{number}" for number in range(ORGANIZATIONS))):
            Organization.objects.create(id=name, tier_id="enterprise")
