"""The Django app: task types, checks and signals are wired up here and nowhere else."""

from importlib import import_module

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy

from plugspace_queue.conf import fill_queues, unchecked
from plugspace_queue.domain import catalog, kinds


class PlugspaceQueueConfig(AppConfig):
    """The queue as a reusable app."""

    name = "plugspace_queue"
    verbose_name = gettext_lazy("Plugspace queue")
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        # Before any model or ready() of a host can name a type of a catalogue.
        for name in unchecked("CATALOGS"):
            import_module(name)
        super().import_models()

    def ready(self) -> None:
        autodiscover_modules("task_types")
        catalog.freeze()
        kinds.freeze()
        fill_queues(catalog.queue_names())
        import_module("plugspace_queue.checks")
        import_module("plugspace_queue.broker.checks")
        import_module("plugspace_queue.processing.checks")
        import_module("plugspace_queue.rq.checks")
        import_module("plugspace_queue.workflows.checks")
        import_module("plugspace_queue.publishing.projections")
        defaults = import_module("plugspace_queue.models.defaults")
        post_migrate.connect(
            defaults.create_missing, sender=self, dispatch_uid="plugspace_queue.defaults"
        )
