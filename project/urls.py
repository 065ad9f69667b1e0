"""URLs of the demo project: the admin (RQ's own pages below it) and all of the queue."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("plugspace_queue.urls")),
]
