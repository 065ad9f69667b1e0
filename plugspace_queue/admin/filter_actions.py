"""An action for everything that the list's filter finds: the count and a reason come first."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.admin import actions
from plugspace_queue.admin.actions import CANCELLED, QUEUED_FOR_RETRY, retry_reason, run_action
from plugspace_queue.admin.base import TEMPLATES, PageAdmin, allowed_verbs
from plugspace_queue.admin.changelists import CURSOR
from plugspace_queue.admin.forms import ReasonForm
from plugspace_queue.admin.manager import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.models import Task
from plugspace_queue.models.querysets import OPEN_VALUES

LIST = "admin:plugspace_queue_task_changelist"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class TaskAction:
    """What operators do to tasks: to one, to chosen ones, or to all that a filter finds."""

    needs: Verb
    states: list[str]
    """Of the tasks that allow it."""
    since: str
    """The column with the moment at which a task came into these states."""
    done: Any

    def run(self, request: HttpRequest, rows: QuerySet[Task] | list[Task], reason: str = "") -> int:
        """Run it for these tasks, through the manager; return for how many it was done."""
        call = _retry if self.needs is Verb.RETRY else _cancel
        return run_action(request, rows, lambda task: call(request, task), self.done, reason)


TASK_ACTIONS: Mapping[str, TaskAction] = {
    "retry": TaskAction(
        needs=Verb.RETRY,
        states=[State.FAILED, State.CANCELLED, State.EXPIRED],
        since="completed_at",
        done=QUEUED_FOR_RETRY,
    ),
    "cancel": TaskAction(needs=Verb.CANCEL, states=OPEN_VALUES, since="queued_at", done=CANCELLED),
}


class CountedForm(ReasonForm):
    """A reason, and when the rows were counted: rows that came later are left alone."""

    asked_at = forms.IntegerField(min_value=0, max_value=2**53, widget=forms.HiddenInput)

    def moment(self) -> datetime:
        """When they were counted; now for a form that does not say it."""
        asked_at = getattr(self, "cleaned_data", {}).get("asked_at")
        return timezone.now() if asked_at is None else EPOCH + timedelta(microseconds=asked_at)

    @staticmethod
    def text_of(moment: datetime) -> str:
        """The moment for the hidden field, as text: a number would be shown with separators."""
        return str((moment - EPOCH) // timedelta(microseconds=1))


class FilterActionsAdmin(PageAdmin):
    """The list of tasks with links to the actions, and the page of each."""

    change_list_template = f"{TEMPLATES}/task/list.html"

    def more_urls(self) -> list[URLPattern]:
        return [
            self.address("all/<slug:verb>/", self.filter_view, "all"),
            *super().more_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), "may": allowed_verbs(request)}
        return super().changelist_view(request, context)

    def filter_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        """How many tasks there are, and a form that wants a reason; its POST runs the action."""
        action = TASK_ACTIONS.get(verb)
        if action is None:
            raise Http404(_("There is no such action."))
        self.require(request, action.needs)
        try:
            found = self._found(request)
        except IncorrectLookupParameters:
            messages.error(request, _("This filter is not valid."))
            return redirect(LIST)
        form = CountedForm(request.POST or None)
        is_confirmed = request.method == "POST" and form.is_valid()
        rows = _affected(found, action, form.moment())
        if is_confirmed:
            action.run(request, rows, form.cleaned_data["reason"])
            return redirect(f"{reverse(LIST)}{found.get_query_string()}")
        titles = {
            "retry": _("Retry all tasks that this filter finds"),
            "cancel": _("Cancel all tasks that this filter finds"),
        }
        count, is_more = actions.count_up_to_limit(rows)
        return self.render(
            request,
            "task/all.html",
            titles[verb],
            verb=verb,
            form=form,
            asked_at=form.text_of(form.moment()),
            count=count,
            is_more=is_more,
            most=actions.MOST,
            words=_words(found),
        )

    def _found(self, request: HttpRequest) -> ChangeList:
        """The list with its filter, from the first page on."""
        filters = request.GET.copy()
        filters.pop(CURSOR, None)
        request.GET = filters  # type: ignore[assignment]
        found: ChangeList = self.get_changelist_instance(request)
        return found


def _retry(request: HttpRequest, task: Task) -> None:
    queue_manager.retry(task.pk, charge=False, reason=retry_reason(request), limit_requests=False)


def _cancel(request: HttpRequest, task: Task) -> None:
    queue_manager.cancel(task.pk)


def _affected(found: ChangeList, action: TaskAction, moment: datetime) -> QuerySet[Task]:
    """The rows of the filter that allow the action, and did so at that moment already."""
    rows: QuerySet[Task] = found.queryset
    return rows.filter(state__in=action.states, **{f"{action.since}__lte": moment})


def _words(found: ChangeList) -> list[tuple[str, str]]:
    """What the filter consists of, for people: `state failed, type CODE or DEPLOY`."""
    filters = found.get_filters_params()
    words = [(name.partition("__")[0], _(" or ").join(values)) for name, values in filters.items()]
    searched = found.query.strip()
    return [*words, (_("search"), searched)] if searched else words
