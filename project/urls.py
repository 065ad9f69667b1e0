"""URLs of the demo project: the admin (RQ's own pages below it), the queue, published sites."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path
from django.views.generic import TemplateView

from project import sites

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("plugspace_queue.urls")),
    path("sites/<path:path>", sites.serve, name="sites"),
    path("", TemplateView.as_view(template_name="landing.html"), name="home"),
    # Under an ASGI server nobody else serves them; the list is empty when DEBUG is off.
    *staticfiles_urlpatterns(),
]
