"""What the templates may call: links, paragraphs, symbols, pictures, charts, small judgements."""

import re

from django import template
from django.utils.safestring import SafeString, mark_safe

from plugspace_queue.schemas.architecture import Chart
from project.agents.code import art, charts, icons

register = template.Library()

TONES = {
    "active": "good",
    "paid": "good",
    "new": "info",
    "trial": "info",
    "at risk": "bad",
    "failed": "bad",
    "paused": "mute",
}


@register.filter
def href(target: str) -> str:
    """Where a link of the plan leads in the finished site: a slug becomes its file."""
    if ":" in target or target.startswith("#"):
        return target
    slug, mark, anchor = target.partition("#")
    return f"{slug}.html{mark}{anchor}"


@register.filter
def paragraphs(text: str) -> list[str]:
    """The text cut at empty lines."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


@register.filter
def initials(name: str) -> str:
    """At most two capitals of a name."""
    words = [word for word in re.findall(r"\w+", name) if not word.isdigit()]
    return "".join(word[0].upper() for word in words[:2]) or "·"


@register.filter
def tone(cell: str) -> str:
    """How a word of a table should be felt: good, info, bad, mute, or empty."""
    return TONES.get(cell.strip().lower(), "")


@register.filter
def trend(cell: str) -> str:
    """Whether a change goes up or down, or empty when it is none."""
    if re.fullmatch(r"\+[\d.,]+ ?(?:%|pts)?", cell):
        return "up"
    if re.fullmatch(r"[-−][\d.,]+ ?(?:%|pts)?", cell):  # noqa: RUF001
        return "down"
    return ""


@register.filter
def drawing(chart: Chart) -> charts.Drawing:
    """The geometry of a chart."""
    return charts.draw(chart)


@register.simple_tag
def icon(name: str, position: int = 0) -> SafeString:
    """A symbol; the name picks from our own paths and is never printed."""
    path = icons.icon(name, position)
    return mark_safe(
        f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'
    )


@register.simple_tag
def picture(words: str, mood: str, columns: int = 5, rows: int = 5) -> SafeString:
    """A picture; the words only choose it and are never printed."""
    return mark_safe(art.picture(words, mood, columns=columns, rows=rows))
