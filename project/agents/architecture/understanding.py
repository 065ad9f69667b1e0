"""Reads a wish: which industry, what name, for whom, with what, and how it should feel."""

import re
from dataclasses import dataclass, field

from plugspace_queue.schemas.inputs import ArchitectContext
from project.agents.architecture import library
from project.agents.architecture.library import Brief, Feature

MOODS = {
    "confident": "modern professional corporate confident sleek trustworthy serious",
    "calm": "calm minimal minimalist clean quiet simple gentle soothing zen airy",
    "playful": "playful fun friendly cheerful colorful colourful quirky youthful kids",
    "elegant": "elegant luxury luxurious premium refined classy sophisticated exclusive",
    "bold": "bold loud brutalist striking energetic strong dramatic edgy",
    "warm": "warm cozy cosy rustic handmade homely earthy natural organic",
    "technical": "technical futuristic tech geeky terminal developer engineering",
    "editorial": "editorial classic literary vintage traditional magazine retro",
}
COLORS = {
    "red": "#c8322b",
    "orange": "#d9650f",
    "yellow": "#e0b000",
    "green": "#2f8a4c",
    "teal": "#0f8a83",
    "blue": "#2563c9",
    "navy": "#1e3a6e",
    "purple": "#7a3fc2",
    "violet": "#6d4bd1",
    "pink": "#d1417f",
    "brown": "#7a5230",
    "gold": "#b58a1b",
    "black": "#1b1b1f",
}
HEX = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")
QUOTED = re.compile(r"[\"“«]([^\"“”«»\n]{2,40})[\"”»]")
NAMED = re.compile(
    r"\b(?:called|named|titled|brand(?:ed)? as)\s{1,9}[\"“«']?"
    r"([^\W_][\w&'\u2019.-]{0,60}(?: [A-Z0-9&][\w&'\u2019.-]{0,60}){0,4})"
)
OWNED = re.compile(
    r"\bfor ([A-Z][\w'\u2019-]{1,60}(?: (?:(?:&|and|of|the) ){0,3}[A-Z][\w'\u2019-]{0,60}){0,4})"
)
PEOPLE = re.compile(
    r"\b(?:for|aimed at|targeting) ((?!a |an |the |my |our |me\b)[a-z][a-z' -]{2,50}?)"
    r"(?=[,.;!?\n]|$| with\b| who\b| that\b| in\b| to\b| including\b)"
)
ABOUT = re.compile(
    r"\b(?:for|about|of|on) (?:a |an |the |my |our )?([^,.;!?\n]{3,60}?)"
    r"(?=[,.;!?\n]|$| with\b| that\b| which\b| including\b)",
    re.IGNORECASE,
)
COMMAND = re.compile(
    r"^\W{0,9}(?:please |can you |could you |i (?:want|need|would like) |we need ){0,3}"
    r"(?:to )?(?:create|build|make|design|generate|develop|set up|need|want)?\s{0,9}(?:me |us )?"
    r"(?:a |an |the |my |our )?(?:(?:simple|new|modern|beautiful|nice|small|web ?site|site|web "
    r"page|landing page|page|homepage)\s{1,9}){0,6}(?:for |about )?(?:a |an |the |my |our )?",
    re.IGNORECASE,
)
DARK = re.compile(r"\bdark(?:er)? (?:mode|theme|design|look|ui|scheme|background)\b", re.IGNORECASE)


@dataclass
class Wish:
    """What was understood; empty where the wish says nothing."""

    brief: Brief
    name: str = ""
    subject: str = ""
    audience: str = ""
    mood: str = ""
    scheme: str = ""
    colors: list[str] = field(default_factory=list)
    features: list[Feature] = field(default_factory=list)


def understand(prompt: str, context: ArchitectContext, beside: str = "") -> Wish:
    """Read the prompt in the light of its context; an explicit context wins over the prompt.

    `beside` are words that only help to find the industry.
    """
    brief = find_brief(context.industry or "", f"{prompt}\n{beside}")
    style = f"{context.style or ''} {prompt}"
    return Wish(
        brief=brief,
        name=find_name(prompt),
        subject=find_subject(prompt) if brief.industry == "general" else "",
        audience=(context.target_audience or find_audience(prompt))[:80],
        mood=find_mood(context.style or "") or find_mood(prompt),
        scheme="dark" if DARK.search(prompt) or "dark" in (context.style or "").lower() else "",
        colors=find_colors(style),
        features=find_features(f"{prompt}\n{chr(10).join(context.features or [])}"),
    )


def find_brief(industry: str, prompt: str) -> Brief:
    """The brief of the named industry, else the one most spoken of, else the general one."""
    known = library.briefs()
    for text in (industry, prompt):
        scores = {name: _score(brief, text) for name, brief in known.items()}
        best = max(scores, key=lambda name: scores[name])
        if scores[best]:
            return known[best]
    return known["general"]


def _score(brief: Brief, text: str) -> float:
    words = re.findall(r"[\w-]+", text.lower())
    exact = 5.0 if brief.industry in words else 0.0
    # Earlier words weigh more: "a shop with a blog" is a shop.
    return exact + sum(1 + 1 / (at + 2) for at, word in enumerate(words) if word in brief.words)


def find_name(prompt: str) -> str:
    """The site's name when the prompt gives one, else empty."""
    for pattern in (NAMED, QUOTED, OWNED):
        if (found := pattern.search(prompt)) and not _is_common(found[1]):
            return found[1].strip(" .,'\u2019-")[:40]
    return ""


def _is_common(text: str) -> bool:
    return text.lower() in {"saas", "i", "b2b", "ai", "crm", "seo"}


def find_audience(prompt: str) -> str:
    """Whom the site is for, in the prompt's words, else empty."""
    found = PEOPLE.search(prompt)
    return found[1].strip() if found else ""


def find_subject(prompt: str) -> str:
    """What the site is about, in the prompt's words."""
    first = prompt.strip().splitlines()[0]
    found = ABOUT.search(first)
    text = found[1] if found else COMMAND.sub("", first)
    words = re.sub(r"^(?:a|an|the|my|our)\s{1,9}", "", text.strip(), flags=re.IGNORECASE).split()
    return " ".join(words[:7]).strip(" .,;:!?")[:60]


def find_mood(text: str) -> str:
    """The mood most spoken of, else empty."""
    words = re.findall(r"[\w-]+", text.lower())
    scores = {mood: sum(word in names.split() for word in words) for mood, names in MOODS.items()}
    best = max(scores, key=lambda mood: scores[mood])
    return best if scores[best] else ""


def find_colors(text: str) -> list[str]:
    """Colours in the order they are named: hex first, then words."""
    named = [COLORS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in COLORS]
    return list(dict.fromkeys(HEX.findall(text) + named))[:6]


def find_features(text: str) -> list[Feature]:
    """The features that are asked for by one of their words, in the order of the catalogue."""
    return [feature for feature in library.features().values() if mentions(text, feature)]


def mentions(text: str, feature: Feature) -> bool:
    """Whether one of the feature's words stands in the text."""
    words = "|".join(re.escape(word) for word in feature.words)
    return re.search(rf"(?<![\w-])(?:{words})(?![\w-])", text, re.IGNORECASE) is not None
