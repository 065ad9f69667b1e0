"""What the templates may call: links, paragraphs, symbols, pictures, charts, small judgements."""

import re

from django import template
from django.utils.safestring import SafeString, mark_safe

from plugspace_queue.schemas.architecture import Chart
from project.agents.code import art, charts, icons

register = template.Library()

CHANGE = re.compile(r"(?P<sign>[+−-])(?P<size>\d{1,6}(?:\.\d{1,3})?) ?(?P<unit>%|pts)?")  # noqa: RUF001

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
    """How a change is felt: its direction, and whether that is good; empty when it is none.

    Percents measure what should grow; points ("pts") measure rates that should fall.
    """
    found = CHANGE.fullmatch(cell)
    if not found or not float(found["size"]):
        return ""
    is_up = found["sign"] == "+"
    is_good = is_up != (found["unit"] == "pts")
    return f"{'up' if is_up else 'down'} {'good' if is_good else 'bad'}"


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
