"""manage.py queue_roles: the groups Queue viewer, Queue operator and Queue admin."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand
from django.db.models import Q

APP = "plugspace_queue"
VIEW = Q(codename__startswith="view_")
OPERATE = Q(codename="operate_queue")

ROLES: dict[str, Q] = {
    "Queue viewer": VIEW,
    "Queue operator": VIEW | OPERATE,
    "Queue admin": Q(),
}


class Command(BaseCommand):
    """Gives each group its permissions; further ones that it has stay."""

    help = "Make or complete the groups Queue viewer, Queue operator and Queue admin."

    def handle(self, *args: Any, **options: Any) -> None:
        ours = Permission.objects.filter(content_type__app_label=APP)
        for name, which in ROLES.items():
            group, is_new = Group.objects.get_or_create(name=name)
            permissions = list(ours.filter(which))
            group.permissions.add(*permissions)
            word = "made" if is_new else "is there"
            if options["verbosity"]:
                self.stdout.write(f"{name}: {word}, {len(permissions)} permissions of the queue")
