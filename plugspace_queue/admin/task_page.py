"""The page of one task: what it does now, what happened, what may be done about it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import ReadOnlyAdmin, link, pretty
from plugspace_queue.admin.pages import fragment
from plugspace_queue.dashboards.progress import progress_of
from plugspace_queue.dashboards.timelines import timeline
from plugspace_queue.dashboards.whys import why
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Task

LONGEST_REASON = 200
RETRYABLE = {State.FAILED, State.CANCELLED, State.EXPIRED}


class TaskPageAdmin(ReadOnlyAdmin):
    """Half of the admin of tasks; the other half is the list."""

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(getattr(self, f"{name}_view")),
                name=f"plugspace_queue_task_{name}",
            )
            for name in ("cancel", "retry", "live")
        ]
        return verbs + super().get_urls()

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What changes on the page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        task = self.get_object(request, object_id)
        if task is None:
            raise Http404("There is no such task.")
        return fragment(request, "task/live.html", _living(task))

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of one task's page."""
        return self._press(request, object_id, Verb.CANCEL, "cancelled or told to stop")

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of one task's page."""
        return self._press(request, object_id, Verb.RETRY, "goes again")

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            context |= _living(obj)
            verbs = _verbs(State(obj.state))
            context["verbs"] = [verb.value for verb in verbs if self.may(request, verb)]
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _press(self, request: HttpRequest, object_id: str, verb: Verb, said: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, verb):
            raise PermissionDenied
        task = self.get_object(request, object_id)
        if task is None:
            messages.error(request, "This task is not there any more.")
            return redirect("admin:plugspace_queue_task_changelist")
        why = request.POST.get("reason", "").strip()[:LONGEST_REASON]
        call = self._cancel if verb is Verb.CANCEL else self._retry
        steering.each(request, [task], lambda row: call(request, row), said, why)
        return redirect("admin:plugspace_queue_task_change", task.pk)

    def _cancel(self, request: HttpRequest, task: Task) -> None:
        queue_manager.cancel(task.pk)

    def _retry(self, request: HttpRequest, task: Task) -> None:
        queue_manager.retry(
            task.pk, charge=False, reason=steering.giver(request), limit_requests=False
        )

    @admin.display(description="Workflow")
    def shown_workflow(self, task: Task) -> SafeString | str:
        return link("workflow", task.workflow_id) if task.workflow_id else "-"

    @admin.display(description="Waits for")
    def shown_parents(self, task: Task) -> SafeString | str:
        return _tasks([dependency.parent for dependency in task.dependencies.all()])

    @admin.display(description="Is waited for by")
    def shown_children(self, task: Task) -> SafeString | str:
        return _tasks([dependency.task for dependency in task.dependents.all()])

    @admin.display(description="Input")
    def shown_input(self, task: Task) -> SafeString | str:
        return pretty(task.input)

    @admin.display(description="Result")
    def shown_result(self, task: Task) -> SafeString | str:
        return pretty(task.result)

    @admin.display(description="Error")
    def shown_error(self, task: Task) -> SafeString | str:
        return pretty(task.error)

    @admin.display(description="Context")
    def shown_context(self, task: Task) -> SafeString | str:
        return pretty(task.context)


def _living(task: Task) -> dict[str, Any]:
    return {
        "task": task,
        "timeline": timeline(task),
        "progress": progress_of(task),
        "why": why(task),
    }


def _verbs(state: State) -> list[Verb]:
    if state in RETRYABLE:
        return [Verb.RETRY]
    return [] if state in lifecycle.FINAL else [Verb.CANCEL]


def _tasks(tasks: list[Task]) -> SafeString | str:
    rows = ((link("task", task.pk, f"{task.type} {task.pk}"), task.state) for task in tasks)
    return format_html_join(", ", "{} ({})", rows) or "-"
