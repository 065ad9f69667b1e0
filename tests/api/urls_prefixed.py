"""A project that has our URLs below a prefix, and addresses of its own below the same one."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the project's own")


urlpatterns = [
    path("backoffice/admin/", admin.site.urls),
    path("queue/", include("plugspace_queue.urls")),
    path("queue/api/v1/hello/", hello),
]
