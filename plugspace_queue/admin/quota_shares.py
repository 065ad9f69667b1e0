"""Organizations sorted by their share of a quota, for those who grant more in time."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.admin.base import PageAdmin
from plugspace_queue.dashboards.organizations import ShareFilter, shares_of_month
from plugspace_queue.domain.catalog import public_types
from plugspace_queue.models import tenancy_queries

NO_TIER = "-"
"""Of the filter; no tier is named so."""

LEAST = (
    ("", gettext_lazy("any")),
    ("50", gettext_lazy("50 % or more")),
    ("80", gettext_lazy("80 % or more")),
    ("100", gettext_lazy("used up")),
)


class ShareFilterForm(forms.Form):
    """The filter; a value that is not valid is an error and finds nothing."""

    type = forms.ChoiceField(required=False, label=gettext_lazy("Type"))
    tier = forms.ChoiceField(required=False, label=gettext_lazy("Tier"))
    least = forms.ChoiceField(required=False, choices=LEAST, label=gettext_lazy("Share"))

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        tiers = tenancy_queries.tiers().values_list("slug", flat=True)
        offered = {
            "type": [(kind.value, kind.label) for kind in public_types()],
            "tier": [*((slug, slug) for slug in tiers), (NO_TIER, _("none"))],
        }
        for name, choices in offered.items():
            self.fields[name].choices = [("", _("any")), *choices]  # type: ignore[attr-defined]

    def wanted(self) -> ShareFilter:
        """What a valid form looks for."""
        data = self.cleaned_data
        tier = "" if data["tier"] == NO_TIER else data["tier"] or None
        return ShareFilter(type=data["type"], tier=tier, least=int(data["least"] or 0))


class QuotaSharesAdmin(PageAdmin):
    """The page beside the list of organizations."""

    def more_urls(self) -> list[URLPattern]:
        return [self.address("shares/", self.shares_view, "shares"), *super().more_urls()]

    def shares_view(self, request: HttpRequest) -> HttpResponse:
        """The highest shares of this month."""
        form = ShareFilterForm(request.GET)
        found = shares_of_month(form.wanted()) if form.is_valid() else None
        context = {"form": form, "shares": found, "is_filtered": any(request.GET.values())}
        return self.render(request, "organization/shares.html", _("Share of quota"), **context)
