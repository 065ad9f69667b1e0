"""Words of our templates: states as badges, spans of time as people say them."""

from datetime import datetime
from decimal import Decimal

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.spans import span

register = template.Library()


@register.simple_tag
def badge(state: str) -> SafeString:
    """A state as a coloured word; the colour is never the only sign."""
    return format_html('<span class="psq-state psq-{}">{}</span>', state, state)


@register.filter
def seconds(value: float | None) -> str:
    """`60.0` as `60 s`."""
    return "-" if value is None else span(float(value))


@register.filter
def ago(moment: datetime, now: datetime) -> str:
    """How long before `now`."""
    return span((now - moment).total_seconds())


@register.filter
def unlocalized(value: float) -> str:
    """A number as attributes of HTML want it, whatever the language."""
    return f"{value:g}"


@register.filter
def normalized(cost: Decimal) -> str:
    """An amount without trailing zeros, and its currency."""
    return f"{cost.normalize():f} {get_settings().currency}"
