"""URLs of the demo project: the admin (with RQ's own pages below it) and everything of the queue."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("plugspace_queue.urls")),
]
