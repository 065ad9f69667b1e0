"""django-rq's own pages: for our queues under our permissions, with the manager behind the buttons.

Stock views build stock jobs and write RQ's keys behind the engine's back. For queues that are
not ours pages, buttons and permissions stay django-rq's: all staff may see and use them.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite, site
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext
from django_rq import admin as django_rq_admin
from django_rq.contrib.prometheus import RQCollector
from django_rq.models import Dashboard
from django_rq.settings import get_queues_list
from django_rq.urls import get_admin_urlpatterns, get_api_urlpatterns
from django_rq.utils import get_cron_schedulers, get_scheduler_statistics, get_statistics
from django_rq.views import each_context
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job

from plugspace_queue import audit_log
from plugspace_queue.domain import permissions
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import QueueError
from plugspace_queue.models import task_queries
from plugspace_queue.rq import reading, stock, verbs
from plugspace_queue.rq.addresses import name_of, queue_of
from plugspace_queue.rq.reading import UNREADABLE, reading_safely

MOST_AT_ONCE = 500

CANCELLED = gettext_noop("cancelled")
CANCELLED_OR_REMOVED = gettext_noop("cancelled or removed")
RETRIED = gettext_noop("queued for retry")
STOPPED = gettext_noop("told to stop")
"""Ids one click handles: each is a transaction of its own, and a browser waits for them."""

HOME = "stats"
"""The name of django-rq's view of all queues."""

LABEL = re.compile(r'\bqueues?="([^"]*)"')
"""The label of a sample in RQ's metrics that names a queue, or the queues of a worker."""

View = Callable[..., HttpResponseBase]

logger = logging.getLogger("plugspace_queue.rq_pages")


def install(admin_site: AdminSite = site) -> None:
    """Put our guarded pages in the place of django-rq's, where the site has those."""
    reading.install()
    if admin_site.is_registered(Dashboard):
        admin_site.unregister(Dashboard)
        admin_site.register(Dashboard, GuardedQueueAdmin)


class GuardedQueueAdmin(django_rq_admin.QueueAdmin):
    """The Django-RQ entry of the admin: for users who may view tasks, and by django-rq's rule."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _may(request, Verb.VIEW_FLEET) or super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """The pages' own addresses only: a dashboard is no row to be changed."""
        pages = get_admin_urlpatterns(name_prefix="django_rq_", view_wrapper=self._wrapped)
        api = get_api_urlpatterns(name_prefix="django_rq_")
        for pattern in api:
            pattern.callback = _figures(pattern.callback)
        home = pages[0]
        listed = URLPattern(home.pattern, home.callback, home.default_args, _list_name(self))
        return [*api, listed, *pages]

    def _wrapped(self, view: View) -> View:
        guarded = _guarded(view)

        @wraps(view)
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            # The pages build their links for the admin from this attribute.
            request.current_app = self.admin_site.name
            return self.admin_site.admin_view(guarded)(request, *args, **kwargs)

        return page


def _list_name(model_admin: Any) -> str:
    opts = model_admin.model._meta
    return f"{opts.app_label}_{opts.model_name}_changelist"


def _may(request: HttpRequest, verb: Verb) -> bool:
    user = request.user
    return bool(user.is_active and user.is_staff and permissions.staff_may(user, verb))


def _guarded(view: View) -> View:
    """The view under the rule of the queue that it shows; a POST to one of ours goes to `POSTS`."""
    press = POSTS.get(view.__name__)

    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        name = name_of(kwargs)
        is_ours = name is not None and stock.is_ours(name)
        if is_ours:
            _require(request)

        def answer() -> HttpResponseBase:
            queue = queue_of(request, kwargs)
            if is_ours and press and queue and request.method == "POST":
                return press(Click(request, queue, kwargs))
            if view.__name__ == HOME and not _may(request, Verb.VIEW_FLEET):
                return _overview_of_host(request)
            return view(request, *args, **kwargs)

        trusts_redis = name is not None and stock.pickles(name)
        return answer() if trusts_redis else _read(request, answer)

    return page


def _require(request: HttpRequest) -> None:
    """Raises PermissionDenied for who may not look at our queues, or not press their buttons."""
    may_press = request.method != "POST" or _may(request, Verb.PRESS_RQ)
    if not (_may(request, Verb.VIEW_FLEET) and may_press):
        raise PermissionDenied


def _read(request: HttpRequest, answer: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """The page, made without loading pickle; a note when Redis holds what RQ cannot read."""
    with reading_safely():
        try:
            return answer()
        except NoSuchJobError as error:
            raise Http404(_("There is no such job.")) from error
        except UNREADABLE:
            logger.warning("a page of RQ's cannot be made: %s", request.path, exc_info=True)
            context = {**site.each_context(request), "title": _("This cannot be read")}
            return render(request, "admin/plugspace_queue/rq/unread.html", context)


def _figures(view: View) -> View:
    """stats.json and metrics: all with RQ_API_TOKEN or for who may view, else the host's queues."""

    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        is_other_staff = request.user.is_staff and not _may(request, Verb.VIEW_FLEET)
        with reading_safely():
            response = view(request, *args, **kwargs)
            return _of_host(response) if is_other_staff else response

    return page


def _overview_of_host(request: HttpRequest) -> HttpResponse:
    """django-rq's home page with the queues that are not ours."""
    _require_queues_of_host()
    statistics = get_statistics(run_maintenance_tasks=True)
    rows = [row for row in statistics["queues"] if not stock.is_ours(row["name"])]
    context = {
        **each_context(request),
        "queues": rows,
        **get_scheduler_statistics(),
        "view_metrics": RQCollector is not None,
        "cron_schedulers": get_cron_schedulers(),
    }
    return render(request, "django_rq/stats.html", context)


def _of_host(response: HttpResponseBase) -> HttpResponseBase:
    """An answer of stats.json or of the metrics with the queues that are not ours."""
    _require_queues_of_host()
    if response.status_code != 200 or not isinstance(response, HttpResponse):
        return response
    if isinstance(response, JsonResponse):
        rows = json.loads(response.content)["queues"]
        return JsonResponse({"queues": [row for row in rows if not stock.is_ours(row["name"])]})
    lines = response.content.decode().splitlines(keepends=True)
    response.content = "".join(line for line in lines if not _is_of_ours(line)).encode()
    return response


def _require_queues_of_host() -> None:
    if all(stock.is_ours(row["name"]) for row in get_queues_list()):
        raise PermissionDenied


def _is_of_ours(line: str) -> bool:
    found = LABEL.search(line)
    return found is not None and any(map(stock.is_ours, found[1].split(",")))


class Click:
    """One button pressed on a page of one of our queues."""

    def __init__(self, request: HttpRequest, queue: Queue, kwargs: dict[str, Any]) -> None:
        self.request, self.queue, self.kwargs = request, queue, kwargs

    def to(self, name: str, *args: Any) -> HttpResponseBase:
        """Redirect to another page of RQ's."""
        app = getattr(self.request, "current_app", None)
        return redirect(f"{app}:django_rq_{name}" if app else f"django_rq:{name}", *args)

    def back(self) -> HttpResponseBase:
        return self.to("jobs", self.kwargs["queue_index"])

    def each(self, ids: Iterable[str], verb: Callable[[str], object], said: str) -> None:
        """Call `verb` for each id, up to a limit; report successes and the reasons of refusals."""
        asked = list(ids)
        done: list[str] = []
        refused: list[str] = []
        for job_id in asked[:MOST_AT_ONCE]:
            try:
                verb(job_id)
            except QueueError as error:
                refused.append(f"{job_id}: {error.message}")
            else:
                done.append(job_id)
        self._note(done, said)
        counts = {"done": len(done), "asked": len(asked), "said": _(said)}
        messages.info(self.request, _("%(done)d of %(asked)d tasks %(said)s.") % counts)
        if left := len(asked[MOST_AT_ONCE:]):
            said = ngettext(
                "%(count)d task is left; run the action again.",
                "%(count)d tasks are left; run the action again.",
                left,
            )
            messages.warning(self.request, said % {"count": left})
        for line in refused[:5]:
            messages.error(self.request, line)

    def cancel_or_forget(self, job_id: str) -> None:
        """Cancel an open task; of a final one, remove only RQ's index entry."""
        task_id = parse_id(job_id)
        if task_id is not None and task_queries.is_open(task_id):
            verbs.cancel(job_id)
        else:
            self._forget(job_id)

    def retry(self, job_id: str) -> None:
        """Raises QueueError for a job that is no task of ours."""
        if parse_id(job_id) is None:
            raise QueueError(_("this is no task: plugspace_queue refuses stock jobs on this queue"))
        verbs.retry(job_id, f"by {self.request.user.get_username()} on RQ's pages")

    def _note(self, job_ids: Iterable[str], said: str) -> None:
        """Who pressed the button, in the history of each task."""
        ids = [task_id for job_id in job_ids if (task_id := parse_id(job_id))]
        tasks = task_queries.tasks_by_id(ids).only("id", "type")
        audit_log.note(self.request.user.pk, list(tasks), f"{said}, on RQ's pages")

    def _forget(self, job_id: str) -> None:
        try:
            job = self.queue.job_class.fetch(
                job_id, connection=self.queue.connection, serializer=self.queue.serializer
            )
        except NoSuchJobError:
            return
        # The stock method: RQ's hash and registries, nothing of ours.
        Job.delete(job)


def _delete(click: Click) -> HttpResponseBase:
    click.each([click.kwargs["job_id"]], click.cancel_or_forget, CANCELLED_OR_REMOVED)
    return click.back()


def _retry(click: Click) -> HttpResponseBase:
    click.each([click.kwargs["job_id"]], click.retry, RETRIED)
    return click.to("job_detail", click.kwargs["queue_index"], click.kwargs["job_id"])


def _stop(click: Click) -> HttpResponseBase:
    click.each([click.kwargs["job_id"]], verbs.cancel, STOPPED)
    return click.to("job_detail", click.kwargs["queue_index"], click.kwargs["job_id"])


def _empty(click: Click) -> HttpResponseBase:
    click.each(click.queue.get_job_ids(0, 10 * MOST_AT_ONCE), verbs.cancel, CANCELLED)
    return click.back()


def _retry_all(click: Click) -> HttpResponseBase:
    click.each(_failed(click.queue), click.retry, RETRIED)
    return click.back()


def _delete_failed(click: Click) -> HttpResponseBase:
    click.each(_failed(click.queue), click.cancel_or_forget, CANCELLED_OR_REMOVED)
    return click.back()


def _failed(queue: Queue) -> list[str]:
    return list(queue.failed_job_registry.get_job_ids(cleanup=False))


def _chosen(click: Click) -> HttpResponseBase:
    ids: Sequence[str] = click.request.POST.getlist("job_ids")
    known: dict[str, tuple[Callable[[str], object], str]] = {
        "delete": (click.cancel_or_forget, CANCELLED_OR_REMOVED),
        "requeue": (click.retry, RETRIED),
        "stop": (verbs.cancel, STOPPED),
    }
    found = known.get(click.request.POST.get("action", ""))
    if found is not None:
        click.each(ids, *found)
    return click.back()


POSTS: dict[str, Callable[[Click], HttpResponseBase]] = {
    "delete_job": _delete,
    "requeue_job_view": _retry,
    "enqueue_job": _retry,
    "stop_job": _stop,
    "clear_queue": _empty,
    "requeue_all": _retry_all,
    "delete_failed_jobs": _delete_failed,
    "actions": _chosen,
}
"""By the names of django-rq's views; a contract test holds them."""
