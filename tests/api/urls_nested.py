"""A project that has our URLs in a namespaced include, and under a name of its own."""

from django.urls import include, path

inner = [path("queue/", include("plugspace_queue.urls", namespace="jobs"))]
urlpatterns = [path("shop/", include((inner, "shop")))]
