"""The workers page: who works, on what, and how to stop a task or a process."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import told_verbs
from plugspace_queue.admin.limits import ReasonForm
from plugspace_queue.admin.pages import PageAdmin, fragment
from plugspace_queue.broker import commands
from plugspace_queue.dashboards import crews
from plugspace_queue.dashboards.crews import Crew
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import QueueError
from plugspace_queue.manager import queue_manager
from plugspace_queue.models import Task, Worker

PAGE = "admin:plugspace_queue_worker_changelist"


@admin.register(Worker)
class WorkerAdmin(PageAdmin):
    """The processes that work."""

    template = "worker/page.html"
    title = "Workers"

    def more_urls(self) -> list[URLPattern]:
        return [
            self.address("live/", self.live_view, "live"),
            self.address("stop/", self.stop_view, "stop"),
        ]

    def told(self, request: HttpRequest) -> dict[str, Any]:
        return {"crews": crews.seen_or_none()}

    def live_view(self, request: HttpRequest) -> HttpResponse:
        """What changes on the page."""
        told = {**self.told(request), "may": told_verbs(request)}
        return fragment(request, "worker/live.html", told)

    def stop_view(self, request: HttpRequest) -> HttpResponse:
        """Asks for a reason; then stops `?worker=NAME`, or cancels `?task=ID`."""
        verb = Verb.STOP_WORKER if "worker" in request.GET else Verb.CANCEL
        if not self.may(request, verb):
            raise PermissionDenied
        crew, task = _crew(request.GET.get("worker")), _task(request.GET.get("task"))
        if crew is None and task is None:
            raise Http404("There is no such worker or task any more.")
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self._stop(request, crew, task, form.cleaned_data["reason"])
        told = {"crew": crew, "task": task, "form": form}
        title = f"Shut down {crew.name}" if crew else f"Cancel {task}"
        return self.render(request, "worker/stop.html", title, **told)

    def _stop(
        self, request: HttpRequest, crew: Crew | None, task: Task | None, reason: str
    ) -> HttpResponse:
        try:
            if crew is not None:
                self._shut_down(request, crew, reason)
            elif task is not None:
                queue_manager.cancel(task.pk)
                steering.note(request, task, "cancelled", reason)
                messages.success(request, f"{task} is cancelled or told to stop.")
        except QueueError as error:
            messages.error(request, error.message)
        crews.forget()
        return redirect(PAGE)

    def _shut_down(self, request: HttpRequest, crew: Crew, reason: str) -> None:
        commands.shut_down(crew.name, crew.queues[0])
        # No row stands for a process: its name is what the audit has of it.
        steering.note(request, Worker(type=crew.name), "told to shut down", reason)
        messages.success(request, f"{crew.name} was told to end what it runs, and itself.")


def _crew(name: str | None) -> Crew | None:
    return crews.named(name) if name else None


def _task(task_id: str | None) -> Task | None:
    found = parse_id(task_id) if task_id else None
    return Task.objects.only("id", "type", "state").filter(pk=found).first() if found else None
