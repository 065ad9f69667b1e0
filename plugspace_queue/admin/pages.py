"""Pages of the admin that are no list of rows: the dashboard, the workers, the audit."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from plugspace_queue.admin.base import PermittedMixin, StyledMixin, told_verbs

FRAGMENT = "X-Psq-Fragment"
"""On what a page asks for by itself; without it the answer is a login page or somebody else's."""


class PageAdmin(StyledMixin, PermittedMixin, admin.ModelAdmin):
    """One page in the place of a list, for whoever may view tasks."""

    template = ""
    title = ""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        """The page's address has the name that the admin's list of models asks for."""
        return [self.address("", self.page_view, "changelist"), *self.more_urls()]

    def more_urls(self) -> list[URLPattern]:
        return []

    def address(self, route: str, view: Any, name: str) -> URLPattern:
        """An address below the page's own, for those who may see the page."""
        full = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        pattern: URLPattern = path(route, self.admin_site.admin_view(self._seen(view)), name=full)
        return pattern

    def page_view(self, request: HttpRequest) -> HttpResponse:
        """The page."""
        return self.render(request, self.template, self.title, **self.told(request))

    def told(self, request: HttpRequest) -> dict[str, Any]:
        """What the page shows."""
        return {}

    def render(
        self, request: HttpRequest, template: str, title: str, **told: Any
    ) -> TemplateResponse:
        """A whole page within the admin."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "may": told_verbs(request),
            **told,
        }
        return TemplateResponse(request, f"admin/plugspace_queue/{template}", context)

    def _seen(self, view: Any) -> Any:
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            response: HttpResponse = view(request, *args, **kwargs)
            return response

        return page


def fragment(request: HttpRequest, template: str, told: dict[str, Any]) -> TemplateResponse:
    """A part of a page."""
    response = TemplateResponse(request, f"admin/plugspace_queue/{template}", told)
    response.headers[FRAGMENT] = "1"
    return response
