"""The live dashboard: six queues, two charts, and a page for each queue with its controls."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import PAUSED, RESUMED, note
from plugspace_queue.admin.base import LivePageAdmin, SinglePageAdmin
from plugspace_queue.admin.forms import LimitsForm, PauseForm
from plugspace_queue.dashboards import failure_groups, queues
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import QueueError
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Dashboard, tenancy_queries

# Two forms of one page: no id twice.
PAUSE_ID, LIMITS_ID = "pause_%s", "limits_%s"
QUEUE = "admin:plugspace_queue_dashboard_queue"
OUTAGE = gettext_lazy(
    "Redis does not answer, so it is unknown which tasks wait and run. Tasks are still accepted,"
    " and nothing is lost."
)


@admin.register(Dashboard)
class DashboardAdmin(LivePageAdmin, SinglePageAdmin):
    """The state of the queues."""

    template = "dashboard/page.html"
    title = gettext_lazy("Dashboard")
    live_template = "dashboard/live.html"

    def more_urls(self) -> list[URLPattern]:
        return [
            *super().more_urls(),
            self.address("series/", self.series_view, "series"),
            self.address("<slug:name>/", self.queue_view, "queue"),
            self.address("<slug:name>/pause/", self.pause_view, "pause"),
            self.address("<slug:name>/limits/", self.limits_view, "limits"),
        ]

    def live_context(self, request: HttpRequest, row: None) -> dict[str, Any]:
        board = queues.board()
        outage = "" if board.is_live else OUTAGE
        return {"board": board, "alert": failure_groups.alert(), "outage": outage}

    def series_view(self, request: HttpRequest) -> HttpResponse:
        """The last hour as numbers."""
        return JsonResponse(queues.last_hour())

    def queue_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """One queue, with the controls that the user may use."""
        return self._queue_page(request, _task_type(name))

    def pause_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Pause or resume, for a reason."""
        self.require(request, Verb.PAUSE)
        task_type, form = _task_type(name), PauseForm(request.POST, auto_id=PAUSE_ID)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not form.is_valid():
            return self._queue_page(request, task_type, pause=form)
        verb, reason = form.cleaned_data["verb"], form.cleaned_data["reason"]
        if verb == "pause":
            call, done = queue_manager.pause, PAUSED
        else:
            call, done = queue_manager.resume, RESUMED
        return self._run(request, task_type, lambda: call(task_type), done, reason)

    def limits_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Other limits from now on, for a reason."""
        self.require(request, Verb.LIMIT)
        task_type = _task_type(name)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = _limits_form(task_type, request.POST)
        if not form.is_valid():
            return self._queue_page(request, task_type, limits=form)
        changes, reason = form.changes(), form.cleaned_data["reason"]
        if not changes:
            messages.info(request, _("No limit was changed."))
            return redirect(QUEUE, task_type.queue_name)
        done = f"limits: {form.words()}"
        return self._run(
            request, task_type, lambda: queue_manager.set_queue(task_type, changes), done, reason
        )

    def _queue_page(self, request: HttpRequest, task_type: TaskType, **forms: Any) -> HttpResponse:
        context = {
            "card": queues.board().card(task_type),
            "pause": forms.get("pause") or PauseForm(auto_id=PAUSE_ID),
            "limits": forms.get("limits") or _limits_form(task_type),
        }
        return self.render(
            request, "dashboard/queue.html", _("%(type)s queue") % {"type": task_type}, **context
        )

    def _run(
        self,
        request: HttpRequest,
        task_type: TaskType,
        call: Callable[[], object],
        done: Any,
        reason: str,
    ) -> HttpResponse:
        try:
            call()
        except QueueError as error:
            messages.error(request, error.message)
        else:
            queues.clear_cache()
            row = tenancy_queries.queue_row(task_type)
            note(request, [row], done, reason)
            messages.success(request, f"{task_type}: {done}: {reason}.")
        return redirect(QUEUE, task_type.queue_name)


def _limits_form(task_type: TaskType, data: Any = None) -> LimitsForm:
    values = LimitsForm.values(tenancy_queries.queue_row(task_type))
    return LimitsForm(data, initial=values, auto_id=LIMITS_ID)


def _task_type(name: str) -> TaskType:
    try:
        return TaskType(name.upper())
    except ValueError:
        raise Http404(_("There is no such queue.")) from None
