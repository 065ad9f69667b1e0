"""The addresses of the shop; its own API is at api/v1/, as ours is below its prefix."""

from django.urls import path

from shop.admin import site
from shop.api import Orders

urlpatterns = [
    path("backoffice/", site.urls),
    path("api/v1/tasks/", Orders.as_view()),
]
