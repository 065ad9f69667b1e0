"""Guesses what a site is made with, by a table of rules, and names what gave it away."""

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from plugspace_queue.schemas.analysis import Technology
from project.agents.analysis.document import Document
from project.agents.analysis.fetch import Answer

TABLE = Path(__file__).resolve().parent.parent / "content" / "technologies.toml"
SEEN = 200_000


class Rule(BaseModel):
    """One technology and patterns, each of which is enough; `header` is [name, value]."""

    model_config = ConfigDict(extra="forbid")

    name: str
    category: str
    generator: str | None = None
    header: tuple[str, str] | None = None
    cookie: str | None = None
    script: str | None = None
    sheet: str | None = None
    html: str | None = None


@functools.cache
def rules() -> list[Rule]:
    """The table."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))["rules"]
    return [Rule.model_validate(entry) for entry in table]


def recognise(answer: Answer, document: Document) -> list[Technology]:
    """What the rules find in one page, in the order of the table."""
    found = []
    for rule in rules():
        if evidence := next(_evidence(rule, answer, document), ""):
            found.append(Technology(name=rule.name, category=rule.category, evidence=evidence))
    return found


def _evidence(rule: Rule, answer: Answer, document: Document) -> Iterator[str]:
    generator = document.metas.get("generator", "")
    if rule.generator and re.search(rule.generator, generator, re.IGNORECASE):
        yield f"generator: {generator[:100]}"
    if rule.header:
        yield from _header(rule.header, answer.headers)
    yield from _first("cookie", rule.cookie, (cookie.split("=")[0] for cookie in answer.cookies))
    yield from _first("script", rule.script, document.scripts)
    yield from _first("stylesheet", rule.sheet, document.sheets)
    if rule.html and (hit := re.search(rule.html, answer.text[:SEEN], re.IGNORECASE)):
        yield f"html: {hit[0].strip()[:100]}"


def _header(wanted: tuple[str, str], headers: dict[str, str]) -> Iterator[str]:
    name, value = wanted
    for given, content in headers.items():
        if re.fullmatch(name, given) and re.search(value, content, re.IGNORECASE):
            yield f"header {given}: {content[:100]}"


def _first(kind: str, pattern: str | None, values: Iterable[str]) -> Iterator[str]:
    for value in values if pattern else ():
        if re.search(pattern or "", value, re.IGNORECASE):
            yield f"{kind}: {value[:100]}"
