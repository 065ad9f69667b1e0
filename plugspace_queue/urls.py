"""URLs of the app: `path("", include("plugspace_queue.urls"))` at the project's root."""

from django.urls import URLPattern, URLResolver

app_name = "plugspace_queue"

urlpatterns: list[URLPattern | URLResolver] = []
