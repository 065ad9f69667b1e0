"""The admin of the shop, under a name of its own; Django's default one is not served."""

from django.contrib.admin import AdminSite

from shop.models import Company, User


class Backoffice(AdminSite):
    site_header = "Back office"


site = Backoffice(name="backoffice")
site.register([Company, User])
