"""URLs of the API: a router for the resources, views for streams, exports and the document."""

from typing import Any

from django.apps import apps
from django.db import connections, transaction
from django.urls import ResolverMatch, URLPattern, path
from django.urls.resolvers import RegexPattern
from rest_framework.routers import DynamicRoute, Route, SimpleRouter
from rest_framework.views import APIView

from plugspace_queue.api import events, spectacular
from plugspace_queue.api.base import MissingDocument, UnknownAddress
from plugspace_queue.api.openapi import DocsView, SchemaView
from plugspace_queue.api.organizations import OrganizationViewSet
from plugspace_queue.api.overrides import GrantViewSet, OverrideViewSet
from plugspace_queue.api.queues import QueueViewSet
from plugspace_queue.api.tasks import ExportView, TaskViewSet
from plugspace_queue.api.workflows import WorkflowViewSet
from plugspace_queue.conf import get_settings
from plugspace_queue.csp import guarded

# The page needs the static files of these two; the document does not.
has_page = all(map(apps.is_installed, ("drf_spectacular", "drf_spectacular_sidecar")))
document_view: type[APIView] = SchemaView if spectacular.IS_INSTALLED else MissingDocument


class Router(SimpleRouter):
    """REST framework's router; host projects reverse our URLs by these shorter names."""

    routes = [
        Route("{prefix}/", {"get": "list", "post": "create"}, "{basename}s", False, {}),
        DynamicRoute("{prefix}/{url_path}/", "{url_name}", False, {}),
        Route(
            "{prefix}/{lookup}/",
            {"get": "retrieve", "patch": "partial_update"},
            "{basename}",
            True,
            {},
        ),
        DynamicRoute("{prefix}/{lookup}/{url_path}/", "{url_name}", True, {}),
    ]


router = Router(use_regex_path=False)
router.register("tasks", TaskViewSet, "task")
router.register("workflows", WorkflowViewSet, "workflow")
router.register("queues", QueueViewSet, "queue")
router.register("organizations", OrganizationViewSet, "organization")


class UnknownAddresses(URLPattern):
    """The last address, which matches all: only with CATCH_ALL, as the project may have others."""

    def resolve(self, path: str) -> ResolverMatch | None:
        return super().resolve(path) if get_settings().catch_all else None


def _outside_transactions(pattern: Any) -> Any:
    """A task's view without ATOMIC_REQUESTS: a request that waits must hold no transaction open."""
    for name in connections if pattern.name == "task" else ():
        pattern.callback = transaction.non_atomic_requests(name)(pattern.callback)
    return pattern


urlpatterns = [
    *map(_outside_transactions, router.urls),
    path("tasks/<uuid:task_id>/events/", events.TaskEvents.as_view(), name="task-events"),
    path(
        "workflows/<uuid:workflow_id>/events/",
        events.WorkflowEvents.as_view(),
        name="workflow-events",
    ),
    path(
        "organizations/<str:organization_id>/events/",
        events.OrganizationEvents.as_view(),
        name="organization-events",
    ),
    path(
        "organizations/<str:organization_id>/grants/",
        GrantViewSet.as_view({"get": "list", "post": "create"}),
        name="grants",
    ),
    path(
        "organizations/<str:organization_id>/grants/<int:override_id>/",
        GrantViewSet.as_view({"delete": "destroy"}),
        name="grant",
    ),
    path(
        "queues/<str:type>/overrides/",
        OverrideViewSet.as_view({"get": "list", "post": "create"}),
        name="overrides",
    ),
    path(
        "queues/<str:type>/overrides/<int:override_id>/",
        OverrideViewSet.as_view({"delete": "destroy"}),
        name="override",
    ),
    path("exports/<str:export_id>/", ExportView.as_view(), name="export"),
    path("schema/", document_view.as_view(), name="schema"),
    *([guarded(path("docs/", DocsView.as_view(), name="docs"))] if has_page else []),
    # A dot does not match a line break, which a URL may contain.
    UnknownAddresses(
        RegexPattern(r"^[\s\S]*$", name="nowhere", is_endpoint=True),
        UnknownAddress.as_view(),
        name="nowhere",
    ),
]
