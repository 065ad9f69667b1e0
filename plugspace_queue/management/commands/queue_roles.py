"""manage.py queue_roles: the groups Queue viewer, Queue operator and Queue admin."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.domain import permissions
from plugspace_queue.management.base import QueueCommand


class Command(QueueCommand):
    """Gives each group its permissions; further ones that it has stay."""

    summary = gettext_lazy(
        "Create or complete the groups Queue viewer, Queue operator and Queue admin."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        ours = Permission.objects.filter(content_type__app_label=permissions.APP)
        for name, codenames in permissions.GROUPS.items():
            group, is_new = Group.objects.get_or_create(name=name)
            given = list(ours.filter(codename__in=codenames))
            group.permissions.add(*given)
            if is_new:
                text = _("%(group)s: created with %(count)d permissions of the queue")
            else:
                text = _("%(group)s: has %(count)d permissions of the queue")
            if options["verbosity"]:
                self.stdout.write(text % {"group": name, "count": len(given)})
