"""manage.py queue_roles: the groups Queue viewer, Queue operator and Queue admin."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand

from plugspace_queue.domain import permissions


class Command(BaseCommand):
    """Gives each group its permissions; further ones that it has stay."""

    help = "Make or complete the groups Queue viewer, Queue operator and Queue admin."

    def handle(self, *args: Any, **options: Any) -> None:
        ours = Permission.objects.filter(content_type__app_label=permissions.APP)
        for name, codenames in permissions.GROUPS.items():
            group, is_new = Group.objects.get_or_create(name=name)
            given = list(ours.filter(codename__in=codenames))
            group.permissions.add(*given)
            word = "made" if is_new else "is there"
            if options["verbosity"]:
                self.stdout.write(f"{name}: {word}, {len(given)} permissions of the queue")
