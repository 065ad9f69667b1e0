"""Pages of the admin that are no table: a name in the list of the app, an address, no rows."""

from plugspace_queue.models.queue import QueueSettings


class Dashboard(QueueSettings):
    """The queues as they stand now."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "dashboard"
        verbose_name_plural = "dashboard"


class Worker(QueueSettings):
    """The processes that work."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "worker"
        verbose_name_plural = "workers"


class Audit(QueueSettings):
    """What operators did."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "audit"
        verbose_name_plural = "audit"
