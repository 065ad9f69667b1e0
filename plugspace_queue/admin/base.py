"""What the admin classes share: read-only records, lists without COUNT, words for people."""

import copy
import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from plugspace_queue import csp
from plugspace_queue.admin.changelists import KeysetChangeList
from plugspace_queue.domain import permissions
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.redaction import LONGEST, excerpt
from plugspace_queue.domain.task_options import LONGEST_WINDOW, SHORTEST_WINDOW
from plugspace_queue.domain.task_types import TaskType


class PermittedMixin:
    """Who may look, who may edit and who may press, by the one table of permissions.

    Django's permission of each single model is not asked: staff may do here what they may do over
    the API.
    """

    edits: ClassVar[Verb | None] = None
    """The verb that adding, changing and deleting rows requires; None: not possible here."""

    def may(self, request: HttpRequest, verb: Verb) -> bool:
        """Whether who asks may do it."""
        return permissions.staff_may(request.user, verb)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, Verb.VIEW_FLEET)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.edits is not None and self.may(request, self.edits)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.edits is not None and self.may(request, self.edits)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.edits is not None and self.may(request, self.edits)

    # Asked by `permissions=["…"]` of an action.

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Verb.CANCEL)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Verb.RETRY)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Verb.PAUSE)


def told_verbs(request: HttpRequest) -> dict[str, bool]:
    """For templates: `may.pause` and the like, of who asks."""
    return {verb.value: permissions.staff_may(request.user, verb) for verb in Verb}


class UncountedMixin:
    """A list that asks for its page and for nothing else; `changelist` says in which order."""

    changelist: ClassVar[type[ChangeList]] = KeysetChangeList
    show_full_result_count = False
    # Facets would count every row once a choice.
    show_facets = admin.ShowFacets.NEVER
    list_per_page: ClassVar[int] = 50
    sortable_by: ClassVar[Any] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return self.changelist

    def walked(self, request: HttpRequest) -> QuerySet[Any] | None:
        """Rows that would be read one by one, where no index finds what is asked; or None."""
        return None


class StyledMixin:
    """Our style sheet on top of the stock theme, in the theme's own colours; our policy."""

    @property
    def urls(self) -> list[URLPattern]:
        found: list[URLPattern] = super().urls  # type: ignore[misc]
        return [csp.guarded(pattern) for pattern in found]

    class Media:
        css = {"all": ["plugspace_queue/admin.css"]}


class ReadOnlyAdmin(UncountedMixin, StyledMixin, PermittedMixin, admin.ModelAdmin):
    """Records: to be looked at, never edited."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """By the filters of the list only: any other lookup would read every row."""
        known = {_parameter(entry) for entry in self.list_filter}
        return lookup.partition("__")[0] in known


def _parameter(entry: Any) -> Any:
    """The parameter of a filter: a field, a field with its filter, or a filter of its own."""
    return entry[0] if isinstance(entry, tuple) else getattr(entry, "parameter_name", entry)


class TypeFilter(admin.ChoicesFieldListFilter):
    """The declared task types, without asking the table which there are."""

    def __init__(self, field: Any, *args: Any, **kwargs: Any) -> None:
        declared = copy.copy(field)
        declared.choices = [(kind.value, kind.label) for kind in TaskType]
        super().__init__(declared, *args, **kwargs)


BY_TYPE = ("type", TypeFilter)


class ReadOnlyInline(PermittedMixin, admin.TabularInline):
    """Rows that hang on a record."""

    extra = 0
    can_delete = False
    show_change_link = True


def window_field(**told: Any) -> forms.FloatField:
    """Seconds of a limiter's window; Redis could not keep one that never ends."""
    return forms.FloatField(min_value=SHORTEST_WINDOW, max_value=LONGEST_WINDOW, **told)


def is_list(request: HttpRequest) -> bool:
    """Whether a list is asked for, or something for all of it: without the large columns."""
    match = request.resolver_match
    return bool(match and match.url_name and match.url_name.endswith(("_changelist", "_all")))


def link(name: str, pk: Any, text: str | None = None) -> SafeString:
    """A link to a record of ours."""
    address = reverse(f"admin:plugspace_queue_{name}_change", args=[pk])
    return format_html('<a href="{}">{}</a>', address, text or pk)


def pretty(value: Any) -> SafeString | str:
    """JSON for people: indented, without its secrets, in a box that scrolls."""
    if value in (None, {}, []):
        return "-"
    shown, left = excerpt(value)
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    if left := left + max(len(text) - LONGEST, 0):
        text = f"{text[:LONGEST]}\n… {left} more characters; the API has all of it."
    return format_html('<pre class="psq-json" tabindex="0">{}</pre>', text)
