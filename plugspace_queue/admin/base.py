"""What all pages of the admin share: permissions, lists without COUNT, style, live parts."""

import copy
import json
from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from plugspace_queue import csp
from plugspace_queue.admin.changelists import KeysetChangeList
from plugspace_queue.domain import permissions
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.domain.redaction import LONGEST, excerpt
from plugspace_queue.domain.task_types import TaskType

FRAGMENT = "X-Psq-Fragment"
"""The header of a live part. An answer without it is a login page or an error page."""

TEMPLATES = "admin/plugspace_queue"

View = Callable[..., HttpResponse]


class PermittedMixin:
    """Who may view, edit and act, by the one table of permissions.

    Django's permission of each single model is not asked: staff may do here what they may do over
    the API.
    """

    edits: ClassVar[Verb | None] = None
    """The verb that adding, changing and deleting rows requires; None: not possible here."""

    def may(self, request: HttpRequest, verb: Verb) -> bool:
        """Whether the user may do it."""
        return permissions.staff_may(request.user, verb)

    def require(self, request: HttpRequest, verb: Verb) -> None:
        """Raise PermissionDenied unless the user may do it."""
        if not self.may(request, verb):
            raise PermissionDenied

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


class PageAdmin(PermittedMixin, admin.ModelAdmin):
    """The base of every admin class: our permissions, policy and style, lists without COUNT."""

    changelist: ClassVar[type[ChangeList]] = KeysetChangeList
    show_full_result_count = False
    # Facets would count every row once a choice.
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by: ClassVar[Any] = ()
    row_route: ClassVar[str] = "<path:object_id>/"
    """Where the pages of one row are, below the list."""

    class Media:
        css = {"all": ["plugspace_queue/admin.css"]}

    @property
    def urls(self) -> list[URLPattern]:
        return [csp.guarded(pattern) for pattern in super().urls]

    def get_urls(self) -> list[URLPattern]:
        return [*self.more_urls(), *super().get_urls()]

    def more_urls(self) -> list[URLPattern]:
        """Addresses besides Django's own."""
        return []

    def address(self, route: str, view: View, name: str) -> URLPattern:
        """An address below the list's, for those who may view the list."""

        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            self.require(request, Verb.VIEW_FLEET)
            return view(request, *args, **kwargs)

        return path(route, self.admin_site.admin_view(page), name=self.url_name(name))

    def url_name(self, name: str) -> str:
        """The name of one of our addresses, without the namespace."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return self.changelist

    def rows_to_scan(self, request: HttpRequest) -> QuerySet[Any] | None:
        """Rows that are read one by one, as no index finds what is searched for; or None."""
        return None

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What our template of the page shows besides Django's form."""
        return {}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if kwargs.get("obj") is not None:
            context |= self.page_context(request, kwargs["obj"])
        return super().render_change_form(request, context, *args, **kwargs)

    def render(
        self, request: HttpRequest, template: str, title: str | Promise, **context: Any
    ) -> TemplateResponse:
        """A whole page within the admin."""
        shared = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "may": allowed_verbs(request),
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}", shared | context)


class RecordAdmin(PageAdmin):
    """Rows that are viewed and never edited."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only the filters of the list: any other lookup would read every row."""
        own = {getattr(entry, "parameter_name", None) for entry in self.list_filter}
        fields = {entry[0] if isinstance(entry, tuple) else entry for entry in self.list_filter}
        return lookup in own or lookup.partition("__")[0] in fields


class TypeFilter(admin.ChoicesFieldListFilter):
    """The declared task types, without asking the table which there are."""

    def __init__(self, field: Any, *args: Any, **kwargs: Any) -> None:
        declared = copy.copy(field)
        declared.choices = [(kind.value, kind.label) for kind in TaskType]
        super().__init__(declared, *args, **kwargs)


BY_TYPE = ("type", TypeFilter)


class SinglePageAdmin(PageAdmin):
    """One page instead of a list of rows."""

    template: ClassVar[str]
    title: ClassVar[str | Promise]
    row_route = ""

    def get_urls(self) -> list[URLPattern]:
        # The admin's index links to the name of a list.
        return [self.address("", self.page_view, "changelist"), *self.more_urls()]

    def page_view(self, request: HttpRequest) -> HttpResponse:
        """The page."""
        return self.render(request, self.template, self.title, **self.page_context(request, None))


class LivePageAdmin(PageAdmin):
    """A page with a part that the browser fetches again every two seconds."""

    change_form_template = f"{TEMPLATES}/live/row.html"
    live_template: ClassVar[str]

    def live_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the live part shows; `outage` says what is unknown because Redis is unavailable."""
        raise NotImplementedError

    def more_urls(self) -> list[URLPattern]:
        live = self.address(f"{self.row_route}live/", self.live_view, "live")
        return [live, *super().more_urls()]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        address = reverse(f"admin:{self.url_name('live')}", args=[row.pk] if row else [])
        return {**self._live(request, row), "live_url": address}

    def live_part(
        self, request: HttpRequest, template: str, context: dict[str, Any]
    ) -> dict[str, Any]:
        """What `live/part.html` shows of a template of ours and its context."""
        return {
            **context,
            "live_template": f"{TEMPLATES}/{template}",
            "may": allowed_verbs(request),
        }

    def render_part(self, request: HttpRequest, part: dict[str, Any]) -> HttpResponse:
        """A live part alone, as the browser fetches it again."""
        response = TemplateResponse(request, f"{TEMPLATES}/live/part.html", part)
        response.headers[FRAGMENT] = "1"
        return response

    def live_view(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """The live part alone."""
        row = self.get_object(request, object_id) if object_id else None
        if object_id and row is None:
            raise Http404(_("There is no such %(name)s.") % {"name": self.opts.verbose_name})
        return self.render_part(request, self._live(request, row))

    def _live(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return self.live_part(request, self.live_template, self.live_context(request, row))


def allowed_verbs(request: HttpRequest) -> dict[str, bool]:
    """For templates: `may.pause` and the like."""
    return {verb.value: permissions.staff_may(request.user, verb) for verb in Verb}


def is_list(request: HttpRequest) -> bool:
    """Whether the page shows many rows, so that their large columns are not read."""
    match = request.resolver_match
    return bool(match and match.url_name and match.url_name.endswith(("_changelist", "_all")))


def link(name: str, pk: Any, text: str | None = None) -> SafeString:
    """A link to a row's page."""
    address = reverse(f"admin:plugspace_queue_{name}_change", args=[pk])
    return format_html('<a href="{}">{}</a>', address, text or pk)


def pretty(value: Any) -> SafeString | str:
    """JSON for people: indented, without its secrets, in a box that scrolls."""
    if value in (None, {}, []):
        return "-"
    shown, left = excerpt(value)
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    if left := left + max(len(text) - LONGEST, 0):
        rest = _("… %(count)d more characters; the API returns the whole value.") % {"count": left}
        text = f"{text[:LONGEST]}\n{rest}"
    return format_html('<pre class="psq-json" tabindex="0">{}</pre>', text)


def pretty_column(name: str, description: Any) -> Callable[[Any], SafeString | str]:
    """A read-only field that shows a JSON column by `pretty`."""

    @admin.display(description=description)
    def shown(row: Any) -> SafeString | str:
        return pretty(getattr(row, name))

    return shown
