"""The Django app: checks, signals and processors are wired up here and nowhere else."""

from importlib import import_module

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class PlugspaceQueueConfig(AppConfig):
    """The queue as a reusable app."""

    name = "plugspace_queue"
    verbose_name = "Plugspace queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import_module("plugspace_queue.checks")
        import_module("plugspace_queue.rq.checks")
        import_module("plugspace_queue.publishing.projections")
        defaults = import_module("plugspace_queue.models.defaults")
        post_migrate.connect(
            defaults.create_missing, sender=self, dispatch_uid="plugspace_queue.defaults"
        )
        autodiscover_modules("processors")
