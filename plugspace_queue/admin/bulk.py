"""A verb for everything the filter of the list finds: first how many, then why, then it is done."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from plugspace_queue.admin import steering
from plugspace_queue.admin.base import told_verbs
from plugspace_queue.admin.changelists import CURSOR
from plugspace_queue.admin.limits import ReasonForm
from plugspace_queue.admin.task_page import RETRYABLE, TaskPageAdmin
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.models import Task
from plugspace_queue.models.querysets import OPEN_VALUES

LIST = "admin:plugspace_queue_task_changelist"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Sweep(NamedTuple):
    """What may be done to a filter."""

    needs: Verb
    states: list[str]
    since: str
    """The column that says since when a row is in one of these states."""
    said: str


VERBS: Mapping[str, Sweep] = {
    "retry": Sweep(Verb.RETRY, sorted(RETRYABLE), "completed_at", "go again"),
    "cancel": Sweep(Verb.CANCEL, OPEN_VALUES, "queued_at", "cancelled or told to stop"),
}


class AllForm(ReasonForm):
    """A reason, and when the rows were counted: what comes later is not taken along."""

    asked_at = forms.IntegerField(min_value=0, max_value=2**53, widget=forms.HiddenInput)

    def moment(self) -> datetime:
        """When they were counted; now for a form that does not say it."""
        told = getattr(self, "cleaned_data", {}).get("asked_at")
        return timezone.now() if told is None else EPOCH + timedelta(microseconds=told)


class BulkPage(TaskPageAdmin):
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
        told = {**(extra_context or {}), "may": told_verbs(request)}
        return super().changelist_view(request, told)

    def all_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        """How many there are, and a form that wants a reason; its POST does it."""
        if verb not in VERBS:
            raise Http404("There is no such verb.")
        if not (self.has_view_permission(request) and self.may(request, VERBS[verb].needs)):
            raise PermissionDenied
        try:
            found = self._found(request)
        except IncorrectLookupParameters:
            messages.error(request, "This filter makes no sense.")
            return redirect(LIST)
        form = AllForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self._do(request, verb, found, form)
        return self._asked(request, verb, found, form)

    def _found(self, request: HttpRequest) -> ChangeList:
        """The list with its filter, from the first page on."""
        filters = request.GET.copy()
        filters.pop(CURSOR, None)
        request.GET = filters  # type: ignore[assignment]
        found: ChangeList = self.get_changelist_instance(request)
        return found

    def _do(
        self, request: HttpRequest, verb: str, found: ChangeList, form: AllForm
    ) -> HttpResponse:
        call = self._retry if verb == "retry" else self._cancel
        said = f"{VERBS[verb].said}: {form.cleaned_data['reason']}"
        rows = _taken(found, verb, form.moment())
        steering.each(request, rows, lambda task: call(request, task), said)
        return redirect(f"{reverse(LIST)}{found.get_query_string()}")

    def _asked(
        self, request: HttpRequest, verb: str, found: ChangeList, form: AllForm
    ) -> HttpResponse:
        moment = form.moment()
        count, is_more = steering.counted(_taken(found, verb, moment))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.capitalize()} all that this filter finds",
            "opts": self.opts,
            "verb": verb,
            "form": form,
            # As text: a number would be shown with separators.
            "asked_at": str((moment - EPOCH) // timedelta(microseconds=1)),
            "count": count,
            "is_more": is_more,
            "most": steering.MOST,
            "words": _words(found),
        }
        return TemplateResponse(request, "admin/plugspace_queue/task/all.html", context)


def _taken(found: ChangeList, verb: str, moment: datetime) -> QuerySet[Task]:
    """The rows of the filter that the verb can take and could take at that moment already."""
    _, states, since, _ = VERBS[verb]
    rows: QuerySet[Task] = found.queryset
    return rows.filter(state__in=states, **{f"{since}__lte": moment})


def _words(found: ChangeList) -> list[tuple[str, str]]:
    """The filter for people, of what really filters: `state failed, type CODE or DEPLOY`."""
    filters = found.get_filters_params()
    words = [(name.partition("__")[0], " or ".join(told)) for name, told in filters.items()]
    searched = found.query.strip()
    return [*words, ("search", searched)] if searched else words
