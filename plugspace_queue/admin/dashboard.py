"""The live dashboard: six queues, two charts, and a page for each queue to steer it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import told_verbs
from plugspace_queue.admin.limits import LimitsForm, PauseForm
from plugspace_queue.admin.pages import PageAdmin, fragment
from plugspace_queue.dashboards import queues, series
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import QueueError
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Dashboard, tenancy_queries

# Two forms of one page: no id twice.
PAUSE_ID, LIMITS_ID = "pause_%s", "limits_%s"


@admin.register(Dashboard)
class DashboardAdmin(PageAdmin):
    """How the queues stand now."""

    template = "dashboard/page.html"
    title = "Dashboard"

    def more_urls(self) -> list[URLPattern]:
        return [
            self.address("live/", self.live_view, "live"),
            self.address("series/", self.series_view, "series"),
            self.address("<slug:kind>/", self.queue_view, "queue"),
            self.address("<slug:kind>/pause/", self.pause_view, "pause"),
            self.address("<slug:kind>/limits/", self.limits_view, "limits"),
        ]

    def told(self, request: HttpRequest) -> dict[str, Any]:
        return {"board": queues.board()}

    def live_view(self, request: HttpRequest) -> HttpResponse:
        """What changes on the page."""
        told = {"board": queues.board(), "may": told_verbs(request)}
        return fragment(request, "dashboard/live.html", told)

    def series_view(self, request: HttpRequest) -> HttpResponse:
        """The last hour as numbers."""
        return JsonResponse(series.last_hour())

    def queue_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """One queue, with what may be steered."""
        return self._queue_page(request, _kind(kind))

    def pause_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Pause or resume, for a reason."""
        self._require(request, Verb.PAUSE)
        task_type, form = _kind(kind), PauseForm(request.POST, auto_id=PAUSE_ID)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not form.is_valid():
            return self._queue_page(request, task_type, pause=form)
        verb = form.cleaned_data["verb"]
        steer = queue_manager.pause if verb == "pause" else queue_manager.resume
        why = form.cleaned_data["reason"]
        return self._steer(request, task_type, lambda: steer(task_type), f"{verb}d", why)

    def limits_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Other limits from now on, for a reason."""
        self._require(request, Verb.LIMIT)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        task_type = _kind(kind)
        row = tenancy_queries.queue_row(task_type)
        form = LimitsForm(request.POST, initial=LimitsForm.values(row), auto_id=LIMITS_ID)
        if not form.is_valid():
            return self._queue_page(request, task_type, limits=form)
        if not form.changes():
            messages.info(request, "The limits are as they were.")
            return redirect("admin:plugspace_queue_dashboard_queue", kind.lower())
        change = form.changes()
        said, why = f"limits: {form.words()}", form.cleaned_data["reason"]
        return self._steer(
            request, task_type, lambda: queue_manager.set_queue(task_type, change), said, why
        )

    def _queue_page(self, request: HttpRequest, kind: TaskType, **forms: Any) -> HttpResponse:
        row = tenancy_queries.queue_row(kind)
        told = {
            "card": queues.board().card(kind),
            "pause": forms.get("pause") or PauseForm(auto_id=PAUSE_ID),
            "limits": forms.get("limits")
            or LimitsForm(initial=LimitsForm.values(row), auto_id=LIMITS_ID),
        }
        return self.render(request, "dashboard/queue.html", f"{kind} queue", **told)

    def _steer(
        self, request: HttpRequest, kind: TaskType, verb: Any, said: str, reason: str
    ) -> HttpResponse:
        try:
            verb()
        except QueueError as error:
            messages.error(request, error.message)
        else:
            queues.forget()
            row = tenancy_queries.queue_row(kind)
            steering.note(request, row, said, reason)
            messages.success(request, f"{kind}: {said}: {reason}.")
        return redirect("admin:plugspace_queue_dashboard_queue", kind.queue_name)

    def _require(self, request: HttpRequest, verb: Verb) -> None:
        if not self.may(request, verb):
            raise PermissionDenied


def _kind(name: str) -> TaskType:
    try:
        return TaskType(name.upper())
    except ValueError:
        raise Http404("There is no such queue.") from None
