"""The failures page: what failed in a time and why, and what operators do about one cause."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin import actions
from plugspace_queue.admin.base import LivePageAdmin, SinglePageAdmin
from plugspace_queue.admin.failure_forms import DecisionForm, FailureFilterForm, TimeForm
from plugspace_queue.admin.filter_actions import TASK_ACTIONS, CountedForm
from plugspace_queue.dashboards import failure_groups, time_ranges
from plugspace_queue.dashboards.failure_groups import FailureFilter
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.models import FailureGroup, failure_queries
from plugspace_queue.models.querysets import TaskQuerySet

EVERY = 5000
"""Milliseconds between two updates: a page reads counts of up to two weeks."""

LARGE = ("input", "context", "result", "progress", "error")

# Three forms of one page: no id twice.
RETRY_ID, MUTE_ID, RESOLVE_ID = "retry_%s", "mute_%s", "resolve_%s"


class FailureRequest:
    """The time and the filter that an address names.

    A filter that is not valid finds nothing, and no action runs for it.
    """

    def __init__(self, request: HttpRequest) -> None:
        query = request.GET.dict()
        self.now = timezone.now()
        self.form = FailureFilterForm(request.GET)
        time = time_ranges.requested(query, self.now)
        self.time = time or time_ranges.until_now(time_ranges.DEFAULT, self.now)
        is_filter_valid = self.form.is_valid()
        self.filter = self.form.wanted() if is_filter_valid else FailureFilter()
        self.errors = self.form.sentences()
        if time is None:
            self.errors.append(_("The time of this address is not valid."))
        self._query = request.GET.urlencode()

    @property
    def is_valid(self) -> bool:
        return not self.errors

    @property
    def query(self) -> str:
        """Of an address for the same; one that is not valid stays as it is."""
        if not self.is_valid:
            return self._query
        return urlencode({**self.time.query, **self.filter.query})

    def context(self) -> dict[str, Any]:
        """What every page of failures shows of it."""
        return {
            "time": self.time,
            "times": [
                (word, time_ranges.span_words(word), word == self.time.last)
                for word in time_ranges.LAST
            ],
            "time_form": TimeForm(self.time),
            "zone": timezone.get_current_timezone_name(),
            "form": self.form,
            "filter": self.filter,
            "filter_errors": self.errors,
            "time_query": urlencode(self.time.query),
            "keep": urlencode(self.filter.query),
            "query": self.query,
        }


@admin.register(FailureGroup)
class FailureAdmin(LivePageAdmin, SinglePageAdmin):
    """Failed tasks by cause."""

    template = "failure/page.html"
    title = gettext_lazy("Failures")
    live_template = "failure/live.html"

    def more_urls(self) -> list[URLPattern]:
        return [
            *super().more_urls(),
            self.address("<int:pk>/change/", self.group_view, "change"),
            self.address("<int:pk>/live/", self.group_live_view, "group_live"),
            self.address("<int:pk>/retry/", self.retry_view, "retry"),
            self.address("<int:pk>/decide/", self.decide_view, "decide"),
        ]

    def page_context(self, request: HttpRequest, row: None) -> dict[str, Any]:
        context = super().page_context(request, row)
        context["form"].offer_choices()
        live_url = f"{context['live_url']}?{context['query']}"
        return {**context, "live_url": live_url, "live_every": EVERY}

    def live_context(self, request: HttpRequest, row: None) -> dict[str, Any]:
        wanted = FailureRequest(request)
        if wanted.is_valid:
            found = failure_groups.listing(wanted.filter, wanted.time, wanted.now)
        else:
            found = failure_groups.no_listing(wanted.time, wanted.now)
        return {**wanted.context(), "listing": found}

    def group_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """One group, with what may be done about it."""
        return self._group_page(request, _group(pk))

    def group_live_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What changes on the page of a group."""
        return self.render_part(request, self._group_part(request, _group(pk)))

    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Retry the tasks of a group that failed in the time of the address."""
        self.require(request, Verb.RETRY)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        group, form = _group(pk), CountedForm(request.POST, auto_id=RETRY_ID)
        wanted = FailureRequest(request)
        if not form.is_valid() or not wanted.is_valid:
            return self._group_page(request, group, retry=form)
        reason = form.cleaned_data["reason"]
        rows = _retryable(group, wanted, form.moment())
        done = TASK_ACTIONS["retry"].run(request, rows, reason)
        with translation.override(None):
            text = f"{done} tasks that failed {wanted.time.words} queued for retry"
        actions.note(request, [group], text, reason)
        return redirect(_address(group, wanted))

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Mute, resolve or reopen, with a note."""
        self.require(request, Verb.TRIAGE)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        group, name = _group(pk), "mute" if request.POST.get("verb") == "mute" else "resolve"
        form = DecisionForm(request.POST, auto_id=f"{name}_%s")
        if not form.is_valid():
            return self._group_page(request, group, **{name: form})
        wanted = FailureRequest(request)
        failure_queries.decide(pk, **form.columns(request.user.get_username(), wanted.now))
        failure_groups.clear_cache()
        note = form.cleaned_data["note"]
        with translation.override(None):
            actions.note(request, [group], form.words(), note)
        text = _("The group is %(state)s: %(note)s.") % {"state": form.words(), "note": note}
        messages.success(request, text)
        return redirect(_address(group, wanted))

    def _group_page(
        self, request: HttpRequest, group: FailureGroup, **given: forms.Form
    ) -> HttpResponse:
        part = self._group_part(request, group)
        live_url = reverse(f"admin:{self.url_name('group_live')}", args=[group.pk])
        context = {
            **part,
            "live_url": f"{live_url}?{part['query']}",
            "live_every": EVERY,
            "retry": given.get("retry") or CountedForm(auto_id=RETRY_ID),
            "mute": given.get("mute") or DecisionForm(auto_id=MUTE_ID),
            "resolve": given.get("resolve") or DecisionForm(auto_id=RESOLVE_ID),
            "asked_at": CountedForm.text_of(part["view"].at),
            "most": actions.MOST,
        }
        title = _("Failures of %(type)s") % {"type": group.type}
        return self.render(request, "failure/group.html", title, **context)

    def _group_part(self, request: HttpRequest, group: FailureGroup) -> dict[str, Any]:
        wanted = FailureRequest(request)
        if wanted.is_valid:
            of = wanted.filter.organization_id
            found = failure_groups.view(group, of, wanted.time, wanted.now)
        else:
            found = failure_groups.no_view(group, wanted.time, wanted.now)
        context = {**wanted.context(), "view": found}
        return self.live_part(request, "failure/group_live.html", context)


def _group(pk: int) -> FailureGroup:
    group = failure_queries.group_by_id(pk)
    if group is None:
        raise Http404(_("There is no such group of failures any more."))
    return group


def _retryable(group: FailureGroup, wanted: FailureRequest, moment: datetime) -> TaskQuerySet:
    """The tasks of a group and a time that had failed when the page was shown.

    None of causes that are too many to be kept apart: it is not known which they are.
    """
    time = wanted.time
    rows = failure_queries.tasks_of(group, wanted.filter.organization_id, time.start, time.end)
    if not group.fingerprint:
        return rows.none()
    return rows.filter(completed_at__lte=moment).defer(*LARGE)


def _address(group: FailureGroup, wanted: FailureRequest) -> str:
    page = reverse("admin:plugspace_queue_failuregroup_change", args=[group.pk])
    return f"{page}?{wanted.query}"
