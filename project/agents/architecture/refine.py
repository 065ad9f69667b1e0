"""Turns feedback into changes of the plan, and says of each piece what it changed."""

import re
from collections.abc import Callable

from plugspace_queue.schemas.architecture import Item, Revision, Section
from project.agents.architecture import library
from project.agents.architecture.draft import Draft, slug_of
from project.agents.architecture.library import PagePlan
from project.agents.architecture.understanding import find_colors, find_mood, mentions

Rule = Callable[[Draft, str], str]

PIECES = re.compile(r"[.;\n]|,\s?(?:and |but )?|\s(?:and|but|then|also)\s", re.IGNORECASE)
ADD = re.compile(r"\b(?:add|include|insert|need|want|with|show|give (?:me|us))\b", re.IGNORECASE)
REMOVE = re.compile(
    r"\b(?:remove|delete|drop|without|no|hide|skip|get rid of|take out)\b", re.IGNORECASE
)
RENAME = re.compile(
    r"\b(?:rename(?: (?:it|the site|this))? to|call (?:it|the site)|(?:the )?name (?:should be|is))"
    r"\s{1,9}[\"“']?([^\"”'\n]{2,40})",
    re.IGNORECASE,
)
HEADLINE = re.compile(
    r"\b(?:headline|title|heading|hero)\b[^\"“”:]{0,60}"
    r"(?:\bto\b|:|\bshould (?:be|say)\b)\s{0,9}[\"“]?([^\"”\n]{3,120})",
    re.IGNORECASE,
)
NEW_PAGE = re.compile(
    r"\b(?:add|include|need|want)\s(?:an?\s|the\s|another\s)?([\w' -]{2,40}?)\s(?:page|section)\b",
    re.IGNORECASE,
)
AUDIENCE = re.compile(
    r"\b(?:aim(?:ed)? at|target(?:ing)?|audience (?:is|should be))\s{1,9}(.{3,60})"
)


def refine(draft: Draft, feedback: list[str]) -> list[Revision]:
    """Apply each piece of the feedback, in order; later ones win."""
    return [_apply(draft, piece) for text in feedback for piece in pieces(text)]


def pieces(text: str) -> list[str]:
    """The single wishes inside one remark; quoted words and headlines stay whole."""
    text = "\n".join(" ".join(line.split()) for line in text.splitlines())
    if HEADLINE.search(text) or RENAME.search(text):
        parts = re.split(r"[;\n]|\.\s", text)
    else:
        parts = _with_verbs(PIECES.split(text))
    return [part.strip(" .!")[:4_000] for part in parts if part.strip(" .!")][:40]


def _with_verbs(parts: list[str]) -> list[str]:
    # "Remove the prices and the team" means both: a part without a verb borrows the last one.
    given, verb = [], ""
    for part in parts:
        found = ADD.search(part) or REMOVE.search(part)
        verb = found[0] if found else verb
        bare = not found and bool(_named(part))
        given.append(f"{verb} {part}" if bare and verb else part)
    return given


def _apply(draft: Draft, piece: str) -> Revision:
    for rule in RULES:
        if change := rule(draft, piece):
            return Revision(feedback=piece, applied=True, change=change)
    return Revision(
        feedback=piece,
        applied=False,
        change="Nothing was changed: name a page, a section, a mood or a colour.",
    )


def _rename(draft: Draft, piece: str) -> str:
    if not (found := RENAME.search(piece)):
        return ""
    draft.name = found[1].strip(" .")
    return f"The site is now called {draft.name}."


def _headline(draft: Draft, piece: str) -> str:
    if not (found := HEADLINE.search(piece)):
        return ""
    hero = draft.section("hero").model_copy(update={"heading": found[1].strip(' .”"')})
    draft.own["hero"] = hero
    return f"The headline reads: {hero.heading}."


def _aim(draft: Draft, piece: str) -> str:
    if not (found := AUDIENCE.search(piece)):
        return ""
    draft.audience = found[1].strip()
    return f"All texts now speak to {draft.audience}."


def _remove(draft: Draft, piece: str) -> str:
    if not REMOVE.search(piece):
        return ""
    named = _named(piece)
    removed = [feature.title.lower() for feature in named if _take_out(draft, feature)]
    removed += [
        page.title.lower()
        for page in list(draft.pages)
        if _says(piece, page) and draft.remove_page(page.slug)
    ]
    draft.features = [feature for feature in draft.features if feature not in named]
    if removed:
        return f"Removed: {', '.join(dict.fromkeys(removed))}."
    return f"There was no {named[0].title.lower()} to remove." if named else ""


def _take_out(draft: Draft, feature: library.Feature) -> bool:
    gone = draft.remove_kind(set(feature.kinds), set(feature.sections))
    pages = [draft.remove_page(page.slug) for page in feature.pages]
    return gone or any(pages)


def _says(piece: str, page: PagePlan) -> bool:
    words = rf"\b(?:{re.escape(page.title)}|{re.escape(page.slug)})\b"
    return re.search(words, piece, re.IGNORECASE) is not None


def _named(piece: str) -> list[library.Feature]:
    return [feature for feature in library.features().values() if mentions(piece, feature)]


def _add(draft: Draft, piece: str) -> str:
    if not ADD.search(piece):
        return ""
    named = _named(piece)
    as_page = re.search(r"\bpages?\b", piece, re.IGNORECASE) is not None
    added = [
        feature.title.lower() for feature in named if draft.add_feature(feature, as_page=as_page)
    ]
    if added:
        return f"Added: {', '.join(added)}."
    return "It is there already." if named else _add_page(draft, piece)


def _add_page(draft: Draft, piece: str) -> str:
    if not (found := NEW_PAGE.search(piece)):
        return ""
    title = found[1].strip().capitalize()
    slug = slug_of(title)
    draft.own[slug] = Section(
        id=slug,
        kind="features",
        heading=title,
        text="What {name} has to say about {topic}.".replace("{topic}", title.lower()),
        items=[
            Item(title="What it is", text=f"{title}, in plain words and without small print."),
            Item(title="Why it matters", text="Because {audience} asked for it."),
            Item(title="What comes next", text="Write to us and we go through it together."),
        ],
    )
    page = PagePlan(slug=slug, title=title, purpose="Asked for in feedback", sections=[slug, "cta"])
    return f"Added the page {title}." if draft.add_page(page) else "It is there already."


def _scheme(draft: Draft, piece: str) -> str:
    if re.search(r"\b(?:dark|darker|night)\b", piece, re.IGNORECASE):
        draft.scheme = "dark"
        return "The site is dark for everyone."
    if re.search(r"\b(?:light|lighter|bright|brighter|white)\b", piece, re.IGNORECASE):
        draft.scheme = "light"
        return "The site is light for everyone."
    return ""


def _mood(draft: Draft, piece: str) -> str:
    if not (mood := find_mood(piece)):
        return ""
    draft.mood = mood
    return f"The mood is {mood}."


def _colors(draft: Draft, piece: str) -> str:
    if not (colors := find_colors(piece)):
        return ""
    draft.colors = colors
    return f"The brand colour is {colors[0]}."


def _shape(draft: Draft, piece: str) -> str:
    found = re.search(r"\b(round|sharp|square|soft)(?:er|ed)?\b", piece, re.IGNORECASE)
    if not found:
        return ""
    shape = {"square": "sharp"}.get(found[1].lower(), found[1].lower())
    draft.style = f"{draft.style} {shape}".strip()[-300:]
    return f"Corners are {shape}."


def _shorten(draft: Draft, piece: str) -> str:
    if not re.search(r"\b(?:shorter|simpler|less|fewer|too (?:long|much|busy))\b", piece, re.I):
        return ""
    entry = draft.pages[0]
    kept = [*entry.sections[:3], entry.sections[-1]]
    if len(kept) >= len(entry.sections):
        return ""
    entry.sections = kept
    return f"The first page has {len(kept)} sections."


RULES: tuple[Rule, ...] = (
    _rename,
    _headline,
    _aim,
    _remove,
    _add,
    _shape,
    _colors,
    _scheme,
    _mood,
    _shorten,
)
