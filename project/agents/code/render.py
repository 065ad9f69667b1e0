"""Renders the templates of the site; everything that came from outside is escaped there."""

import functools
from pathlib import Path
from typing import Any

from django.template import Context, Engine

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


@functools.cache
def _engine() -> Engine:
    # Our own engine: the host project's template settings must not change what we write.
    return Engine(dirs=[str(TEMPLATES)], autoescape=True, builtins=["project.agents.code.tags"])


def render(name: str, **values: Any) -> str:
    """The text of a template, numbers as they are in code and never in a local notation."""
    text = _engine().get_template(name).render(Context(values, use_l10n=False, use_tz=False))
    return _without_empty_lines(text)


def _without_empty_lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"
