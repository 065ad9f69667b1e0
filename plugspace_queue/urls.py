"""URLs of the app: `path("", include("plugspace_queue.urls"))` at the project's root."""

from django.urls import URLPattern, URLResolver, include, path

from plugspace_queue.api import health
from plugspace_queue.api.prometheus import MetricsView

app_name = "plugspace_queue"

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("plugspace_queue.api.urls")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", MetricsView.as_view(), name="metrics"),
]
