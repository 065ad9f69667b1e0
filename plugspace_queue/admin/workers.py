"""The workers page: what each process runs, and how to stop a task or a process."""

from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.actions import note
from plugspace_queue.admin.base import LivePageAdmin, SinglePageAdmin
from plugspace_queue.admin.forms import ReasonForm
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.broker import commands
from plugspace_queue.dashboards import workers
from plugspace_queue.dashboards.workers import WorkerStatus
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import QueueError
from plugspace_queue.models import Task, Worker, task_queries

PAGE = "admin:plugspace_queue_worker_changelist"
OUTAGE = gettext_lazy(
    "Redis does not answer, so the workers are unknown. They continue to run their tasks."
)


@admin.register(Worker)
class WorkerAdmin(LivePageAdmin, SinglePageAdmin):
    """The worker processes."""

    template = "live/page.html"
    title = gettext_lazy("Workers")
    live_template = "worker/live.html"

    def more_urls(self) -> list[URLPattern]:
        return [*super().more_urls(), self.address("stop/", self.stop_view, "stop")]

    def live_context(self, request: HttpRequest, row: None) -> dict[str, Any]:
        found = workers.all_or_none()
        return {"workers": found, "outage": OUTAGE if found is None else ""}

    def stop_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a reason; then stop `?worker=NAME`, or cancel `?task=ID`."""
        self.require(request, Verb.STOP_WORKER if "worker" in request.GET else Verb.CANCEL)
        worker, task = _worker(request.GET.get("worker")), _task(request.GET.get("task"))
        if worker is None and task is None:
            raise Http404(_("This worker or task does not exist any more."))
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self._stop(request, worker, task, form.cleaned_data["reason"])
        if worker is not None:
            title = _("Shut down %(worker)s") % {"worker": worker.name}
        else:
            title = _("Cancel %(task)s") % {"task": task}
        return self.render(request, "worker/stop.html", title, worker=worker, task=task, form=form)

    def _stop(
        self, request: HttpRequest, worker: WorkerStatus | None, task: Task | None, reason: str
    ) -> HttpResponse:
        try:
            if worker is not None:
                commands.shut_down(worker.name, worker.queues[0])
                # A process has no row, so the entry has its name.
                row = Worker(type=worker.name)
                note(request, [row], gettext_lazy("asked to shut down"), reason)
                text = _("%(worker)s was asked to finish its tasks and to stop.")
                messages.success(request, text % {"worker": worker.name})
            elif task is not None:
                queue_manager.cancel(task.pk)
                note(request, [task], gettext_lazy("cancelled"), reason)
                text = _("%(task)s is cancelled, or was asked to stop.")
                messages.success(request, text % {"task": task})
        except QueueError as error:
            messages.error(request, error.message)
        workers.clear_cache()
        return redirect(PAGE)


def _worker(name: str | None) -> WorkerStatus | None:
    return workers.named(name) if name else None


def _task(task_id: str | None) -> Task | None:
    found = parse_id(task_id) if task_id else None
    if found is None:
        return None
    return task_queries.task_by_id(found).only("id", "type", "state").first()
