"""The shop as an app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        autodiscover_modules("signals")
