"""Pages of the admin that are no table: a name in the list of the app, an address, no rows."""

from django.utils.translation import gettext_lazy

from plugspace_queue.models.queue import QueueSettings


class Dashboard(QueueSettings):
    """The queues as they stand now."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = gettext_lazy("dashboard")
        verbose_name_plural = gettext_lazy("dashboard")


class Worker(QueueSettings):
    """The processes that work."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = gettext_lazy("worker")
        verbose_name_plural = gettext_lazy("workers")


class Audit(QueueSettings):
    """What operators did."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = gettext_lazy("audit")
        verbose_name_plural = gettext_lazy("audit")
