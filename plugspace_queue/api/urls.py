"""Addresses of the API: one view a resource, one view a verb."""

from django.apps import apps
from django.urls import path, re_path

from plugspace_queue.api import events, exports, organizations, queues, tasks, workflows
from plugspace_queue.api.base import NoSuchAddress
from plugspace_queue.api.openapi import DocsView, SchemaView
from plugspace_queue.csp import guarded

# The page's own files come with these two; the document itself needs neither.
has_page = all(map(apps.is_installed, ("drf_spectacular", "drf_spectacular_sidecar")))

urlpatterns = [
    path("tasks/", tasks.TaskList.as_view(), name="tasks"),
    path("tasks/bulk/", tasks.TaskBulk.as_view(), name="tasks-bulk"),
    path("tasks/<uuid:task_id>/", tasks.TaskDetail.as_view(), name="task"),
    path("tasks/<uuid:task_id>/explain/", tasks.TaskExplain.as_view(), name="task-explain"),
    path("tasks/<uuid:task_id>/cancel/", tasks.TaskCancel.as_view(), name="task-cancel"),
    path("tasks/<uuid:task_id>/retry/", tasks.TaskRetry.as_view(), name="task-retry"),
    path("tasks/<uuid:task_id>/events/", events.TaskEvents.as_view(), name="task-events"),
    path("workflows/", workflows.WorkflowList.as_view(), name="workflows"),
    path("workflows/<uuid:workflow_id>/", workflows.WorkflowItem.as_view(), name="workflow"),
    path(
        "workflows/<uuid:workflow_id>/cancel/",
        workflows.WorkflowCancel.as_view(),
        name="workflow-cancel",
    ),
    path(
        "workflows/<uuid:workflow_id>/retry/",
        workflows.WorkflowRetry.as_view(),
        name="workflow-retry",
    ),
    path(
        "workflows/<uuid:workflow_id>/events/",
        events.WorkflowEvents.as_view(),
        name="workflow-events",
    ),
    path("queues/", queues.QueueList.as_view(), name="queues"),
    path("queues/<str:type>/", queues.QueueDetail.as_view(), name="queue"),
    path("queues/<str:type>/pause/", queues.QueuePause.as_view(), name="queue-pause"),
    path("queues/<str:type>/resume/", queues.QueueResume.as_view(), name="queue-resume"),
    path(
        "organizations/<str:organization_id>/",
        organizations.OrganizationDetail.as_view(),
        name="organization",
    ),
    path(
        "organizations/<str:organization_id>/usage/",
        organizations.OrganizationUsage.as_view(),
        name="usage",
    ),
    path(
        "organizations/<str:organization_id>/events/",
        events.OrganizationEvents.as_view(),
        name="organization-events",
    ),
    path("exports/<str:export_id>/", exports.ExportDetail.as_view(), name="export"),
    path("schema/", SchemaView.as_view(), name="schema"),
    *([guarded(path("docs/", DocsView.as_view(), name="docs"))] if has_page else []),
    # A line break too is no address of ours.
    re_path(r"^[\s\S]*$", NoSuchAddress.as_view(), name="nowhere"),
]
