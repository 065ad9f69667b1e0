"""A verb for everything the filter of the list finds: first how many, then why, then it is done."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from plugspace_queue.admin import steering
from plugspace_queue.admin.changelists import CURSOR
from plugspace_queue.admin.limits import ReasonForm
from plugspace_queue.admin.task_page import RETRYABLE, TaskPage
from plugspace_queue.models import Task
from plugspace_queue.models.task import OPEN_VALUES

LIST = "admin:plugspace_queue_task_changelist"
MOST_COUNTED = 10_000
"""Further than this nobody needs to know, and counting reads every row."""

VERBS: Mapping[str, tuple[list[str], str]] = {
    "retry": (sorted(RETRYABLE), "go again"),
    "cancel": (OPEN_VALUES, "cancelled or told to stop"),
}
"""Which states each verb takes, and what is said of them afterwards."""


class BulkPage(TaskPage):
    """What is done to a whole filter; what is done to chosen rows is with the list."""

    change_list_template = "admin/plugspace_queue/task/list.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.all_view)
        return [
            path("all/<slug:verb>/", view, name="plugspace_queue_task_all"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may = {"may_operate": self.has_operate_permission(request)}
        return super().changelist_view(request, {**(extra_context or {}), **may})

    def all_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        """How many there are, and a form that wants a reason; its POST does it."""
        if not (self.has_view_permission(request) and self.has_operate_permission(request)):
            raise PermissionDenied
        if verb not in VERBS:
            raise Http404("There is no such verb.")
        try:
            rows = self._found(request, verb)
        except IncorrectLookupParameters:
            messages.error(request, "This filter makes no sense.")
            return redirect(LIST)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self._do(request, verb, rows, form.cleaned_data["reason"])
        return self._asked(request, verb, rows, form)

    def _found(self, request: HttpRequest, verb: str) -> QuerySet[Task]:
        """All rows of the filter that the verb can take, on whatever page of the list."""
        filters = request.GET.copy()
        filters.pop(CURSOR, None)
        request.GET = filters  # type: ignore[assignment]
        states, _ = VERBS[verb]
        rows: QuerySet[Task] = self.get_changelist_instance(request).queryset
        return rows.filter(state__in=states)

    def _do(
        self, request: HttpRequest, verb: str, rows: QuerySet[Task], reason: str
    ) -> HttpResponse:
        call = self._retry if verb == "retry" else self._cancel
        said = f"{VERBS[verb][1]}: {reason}"
        steering.each(request, rows, lambda task: call(request, task), said)
        return redirect(LIST)

    def _asked(
        self, request: HttpRequest, verb: str, rows: QuerySet[Task], form: ReasonForm
    ) -> HttpResponse:
        count = rows.order_by()[: MOST_COUNTED + 1].count()
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.capitalize()} all that this filter finds",
            "opts": self.opts,
            "verb": verb,
            "form": form,
            "count": min(count, MOST_COUNTED),
            "is_more": count > MOST_COUNTED,
            "most": steering.MOST,
            "words": _words(request),
        }
        return TemplateResponse(request, "admin/plugspace_queue/task/all.html", context)


def _words(request: HttpRequest) -> list[tuple[str, str]]:
    """The filter for people: `state failed, type DEPLOY`."""
    pairs = request.GET.items()
    named = ((name.partition("__")[0], str(value)) for name, value in pairs if value)
    return [("search" if name == "q" else name, value) for name, value in named]
