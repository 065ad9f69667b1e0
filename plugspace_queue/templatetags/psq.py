"""Words of our templates: states as badges, spans of time as people say them."""

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from plugspace_queue.rules.spans import span

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
