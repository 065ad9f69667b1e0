"""The live dashboard: queues, charts, who holds the slots, and a page for each queue."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import PAUSED, RESUMED, note
from plugspace_queue.admin.base import LivePageAdmin, SinglePageAdmin
from plugspace_queue.admin.forms import LimitsForm, PauseForm
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.admin.overrides import end_override, lists_of
from plugspace_queue.dashboards import failure_groups, queues, slot_shares
from plugspace_queue.domain.enums import Policy
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import QueueError
from plugspace_queue.limits import policies
from plugspace_queue.models import Dashboard, tenancy_queries
from plugspace_queue.models.overrides import LONGEST_AUTHOR
from plugspace_queue.services import overrides

# Two forms of one page: no id twice.
PAUSE_ID, LIMITS_ID = "pause_%s", "limits_%s"
QUEUE = "admin:plugspace_queue_dashboard_queue"
TYPE_PARAMETER = "type"
OUTAGE = gettext_lazy(
    "Redis does not answer, so it is unknown which tasks wait and run. Tasks are still accepted,"
    " and nothing is lost."
)


class SlotsAdmin(LivePageAdmin):
    """The page beside the dashboard; `?type=CODE` shows one queue."""

    def more_urls(self) -> list[URLPattern]:
        return [
            self.address("slots/", self.slots_view, "slots"),
            self.address("slots/live/", self.slots_live_view, "slots_live"),
            *super().more_urls(),
        ]

    def slots_view(self, request: HttpRequest) -> HttpResponse:
        """Shares of running and waiting tasks by tier and organization."""
        part = self._slots_part(request)
        live_url = reverse(f"admin:{self.url_name('slots_live')}")
        kind = part["kind"]
        context = {**part, "live_url": f"{live_url}?{TYPE_PARAMETER}={kind}" if kind else live_url}
        return self.render(request, "dashboard/slots.html", _("Who holds the slots"), **context)

    def slots_live_view(self, request: HttpRequest) -> HttpResponse:
        """What changes on the page."""
        return self.render_part(request, self._slots_part(request))

    def _slots_part(self, request: HttpRequest) -> dict[str, Any]:
        kind = _type_or_none(request.GET.get(TYPE_PARAMETER, ""))
        cards = [card for card in queues.board().cards if kind in (None, card.type)]
        context = {
            "kind": kind,
            "types": list(TaskType),
            "shares": slot_shares.slots_view(kind),
            "slots": sum(card.slots for card in cards),
            "strict": [card.type for card in cards if card.policy.policy == Policy.STRICT],
            "notes": [(card.type, card.note) for card in cards if card.note],
        }
        return self.live_part(request, "dashboard/slots_live.html", context)


@admin.register(Dashboard)
class DashboardAdmin(SlotsAdmin, SinglePageAdmin):
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
            self.address("<slug:name>/overrides/<int:pk>/end/", self.end_view, "end"),
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
        if not form.changes():
            messages.info(request, _("No limit was changed."))
            return redirect(QUEUE, task_type.queue_name)
        if not form.is_confirmed:
            title = _("Change the limits of %(type)s") % {"type": task_type}
            context = {"card": queues.board().card(task_type), "limits": form}
            return self.render(request, "dashboard/limits.html", title, **context)
        if form.cleaned_data["until"]:
            return self._override(request, task_type, form)
        changes, reason = form.changes(), form.cleaned_data["reason"]
        done = f"limits: {form.words()}"
        return self._run(
            request, task_type, lambda: queue_manager.set_queue(task_type, changes), done, reason
        )

    def end_view(self, request: HttpRequest, name: str, pk: int) -> HttpResponse:
        """End an override of the queue's limits, for a reason."""
        self.require(request, Verb.LIMIT)
        task_type = _task_type(name)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = tenancy_queries.queue_row(task_type)
        end_override(request, pk, row, lambda _one: overrides.limits_in_force(task_type))
        _clear_caches()
        return redirect(QUEUE, task_type.queue_name)

    def _override(
        self, request: HttpRequest, task_type: TaskType, form: LimitsForm
    ) -> HttpResponse:
        data, before = form.cleaned_data, overrides.limits_in_force(task_type)
        try:
            made = queue_manager.override_queue(
                task_type,
                **form.overrides(),
                until=data["until"],
                reason=data["reason"],
                author=request.user.get_username()[:LONGEST_AUTHOR],
            )
        except QueueError as error:
            messages.error(request, error.message)
        else:
            _clear_caches()
            text = overrides.audit_text(made, before, overrides.limits_in_force(task_type))
            note(request, [tenancy_queries.queue_row(task_type)], text, data["reason"])
            messages.success(request, f"{task_type}: {text}: {data['reason']}.")
        return redirect(QUEUE, task_type.queue_name)

    def _queue_page(self, request: HttpRequest, task_type: TaskType, **forms: Any) -> HttpResponse:
        context = {
            "card": queues.board().card(task_type),
            "overrides": lists_of(partial(_end_url, task_type), task_type=task_type),
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
            _clear_caches()
            row = tenancy_queries.queue_row(task_type)
            note(request, [row], done, reason)
            messages.success(request, f"{task_type}: {done}: {reason}.")
        return redirect(QUEUE, task_type.queue_name)


def _limits_form(task_type: TaskType, data: Any = None) -> LimitsForm:
    return LimitsForm(tenancy_queries.queue_row(task_type), data, auto_id=LIMITS_ID)


def _end_url(task_type: TaskType, pk: int) -> str:
    return reverse("admin:plugspace_queue_dashboard_end", args=[task_type.queue_name, pk])


def _clear_caches() -> None:
    """So that the page that follows shows what was changed."""
    policies.clear_cache()
    queues.clear_cache()


def _task_type(name: str) -> TaskType:
    try:
        return TaskType(name.upper())
    except ValueError:
        raise Http404(_("There is no such queue.")) from None


def _type_or_none(name: str) -> TaskType | None:
    """The queue of the address; None for all. Raises Http404 for one that does not exist."""
    try:
        return TaskType(name) if name else None
    except ValueError:
        raise Http404(_("There is no such queue.")) from None
