"""For each regular expression the texts that cost it most."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from plugspace_queue.domain import fingerprint
from tests.growth import Maker, many

ROOT = Path(__file__).parents[2]
WORDS = "a the for and to with page called "
ADDRESS = (
    r"""(://[^\s/:"'<>\[]{0,200000}):(?!\d{1,5}/)[^\s:]{0,200000}"""
    r"(?::(?!//)[^\s:]{0,200000}){0,200000}"
)
#: A pattern's text to what is hostile to it.
TEXTS: dict[str, list[Maker]] = {
    # Ids, organizations, cursors, numbers, dates
    "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}": [
        many("a"),
        many("abcd-", "abcdabcd-"),
        many("a", "abcdabcd-abcd-abcd-abcd-"),
    ],
    "[0-9]{1,18}": [many("1"), many("1", after="x")],
    "[A-Za-z0-9_-]{1,64}": [many("a"), many("a-", after="!")],
    "^[A-Za-z0-9_-]{1,64}$": [many("a"), many("a\n"), many("a-", after="!")],
    r"^[A-Za-z0-9_-]{1,64}\Z": [many("a"), many("a-", after="!")],
    "^[a-z][a-z0-9-]{0,31}$": [many("a"), many("a\n"), many("a-", after="!")],
    "[0-9]{1,19}(-[0-9]{1,19})?": [many("1"), many("1-")],
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]": [many("2026-"), many("2026-01-01")],
    "^2[0-9]{3}-(0[1-9]|1[0-2])$": [many("2026-01"), many("2")],
    r"[^A-Za-z0-9_]": [many("-"), many("a")],
    r"[a-z][a-z0-9]*(-[a-z0-9]+)*": [many("a"), many("a-", after="!"), many("a", after="!")],
    "[A-Za-z][A-Za-z0-9_-]*": [many("a"), many("a-", after="!")],
    "[a-z][A-Za-z0-9]*": [many("a"), many("a", after="!")],
    r"[A-Z][A-Z0-9_]{0,31}\Z": [many("A"), many("A_", after="!")],
    r'''\bqueues?="([^"]*)"''': [many('queue="'), many("a", 'queue="'), many('queues="a,')],
    # What differs between failures of one cause; too long to be read twice.
    fingerprint._VARIABLE.pattern: [
        *(many(one) for one in ("a", "1", "'", '"', "/", "-", "\\", "~/")),
        *(
            many(one)
            for one in ("a-", "a.", "a@", "a/", "'a ", '"a', "/a", "a://", "0x", "1.", "1 m")
        ),
        many("a", "'", "\n"),
        many("a", " '", "'a"),
        many("a.", "a@"),
        many("a-", "a@a."),
        many("abcdabcd-"),
        many("abcd-", "abcdabcd-"),
        many("2026-01-01T10:00:"),
        many("2026-01-01 "),
        many("10:00:0"),
        many("/a", " "),
        many("a", " /"),
        many("abcdefa "),
        many("abcdefg1 "),
        many("_abcdefg"),
        many("1", "a"),
        many("1.", "-"),
        many("404 m"),
    ],
    # The server's messages and our scripts
    "(^|caused error: )(MISCONF|NOREPLICAS|BUSY|UNBLOCKED) ": [many("caused error: BUSY")],
    r"^--@include (\S+)\n": [many("a", "--@include "), many("--@include a"), many("--@include \n")],
    # Redaction, text
    "[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+": [many("A", after="a"), many("Aa1"), many("AA_")],
    ADDRESS + "@": [
        *(many("a-"), many("://"), many("a://:"), many("a://:a"), many("a@:")),
        many(":", "://"),
        many("a:", "x://"),
        many(":/", "x://"),
        many("/", "x://:"),
        many("a:@ ", "x://"),
        many("x://:1/"),
        many("1", "x://:"),
    ],
    ADDRESS + r"\Z": [
        *(many("a-"), many("a://:"), many("a://:a")),
        many(":", "://", " "),
        many("a:", "x://", " "),
        many("/@", "x://:", "://"),
    ],
    r"\b(Bearer|Basic) {1,200000}[A-Za-z0-9._~+/=-]{8,200000}": [
        many("Bearer "),
        many(" ", "Bearer"),
        many("Basic-"),
        many("Bearer aaaaaaa "),
    ],
    r"\b(Bearer|Basic) {1,200000}[A-Za-z0-9._~+/=-]{0,200000}\Z": [
        many("Bearer "),
        many(" ", "Bearer", "!"),
        many("a", "Bearer ", "!"),
        many("Bearer a/"),
    ],
    # Messages that tenants read
    (
        r"""(["'`])(?:file:/{1,3}|(?:~(?:[A-Za-z_][\w.-]{0,31})?)?/|[A-Za-z]:[\\/]|\\\\)"""
        r"""[^"'`\n]{0,1024}\1"""
    ): [
        many("'~a"),
        many("a", "'~"),
        many('"/'),
        many("'/a\n"),
        many("`~/", after="a"),
        many("a", '"/'),
        many('"/`'),
    ],
    (
        r"(?:\bfile:/{1,3}|(?<=://)/|(?<![\w/.~-])(?:~(?:[A-Za-z_][\w.-]{0,31})?)?/(?!/)"
        r"""|(?<![\w:/.~-])//(?=\w)|(?<![A-Za-z])[A-Za-z]:[\\/](?!/)|\\\\)[^\s"'`<>|]{1,1024}"""
    ): [
        *(many("/"), many("file:/ "), many(" ~/<"), many("C:/ "), many("\\"), many(" //")),
        many(":///"),
        many("x:///<"),
        *(many(" ~a"), many("a", " ~"), many(" ~a.b/<")),
    ],
    (
        r"-----BEGIN [A-Z0-9 ]{1,64}-----(?:[^-]|-(?!----)){0,16384}"
        r"(?:-----END [A-Z0-9 ]{1,64}-----)?"
    ): [
        many("-"),
        many("-----BEGIN "),
        many("-----BEGIN A-----"),
        many("a-", "-----BEGIN A-----"),
        many("-----END ", "-----BEGIN A-----"),
        many("A ", "-----BEGIN "),
    ],
    r"""(authorization["']?\s{0,3}[:=]\s{0,3})[^\s][^\n]{0,1024}""": [
        many("authorization"),
        many("authorization:\n"),
        many("authorization: ", after="a"),
        many(" ", "authorization:"),
    ],
    (
        r"((?:passw(?:or)?d|passphrase|pwd|secret|token|api[-_ ]?key|access[-_]?key"
        r"""|private[-_]?key|credentials?|cookie)["']?\s{0,3}[:=]\s{0,3})"""
        r"""(?:"[^"\n]{0,1024}"|'[^'\n]{0,1024}'|[^\s"',;&)}\]]{1,1024})"""
    ): [
        many("token"),
        many('token="'),
        many("token=\"'", after="\n"),
        many("pwd:\n"),
        many("a", 'secret="'),
        many("cookie = "),
    ],
    (
        r"\b(?:[spr]k[-_][A-Za-z0-9_-]{16,512}|gh[opsu]_[A-Za-z0-9]{20,255}"
        r"|github_pat_[A-Za-z0-9_]{20,255}|xox[abps]-[A-Za-z0-9-]{10,255}|AKIA[A-Z0-9]{12,32}"
        r"|AIza[A-Za-z0-9_-]{16,255}|hf_[A-Za-z0-9]{16,255}"
        r"|gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{16,255}(?:\.[A-Za-z0-9_-]{1,255}){0,4}"
        r"|eyJ[A-Za-z0-9_.-]{16,4096})"
    ): [
        *(many("sk-"), many("ghp_a "), many("eyJ."), many("xoxb-aaa "), many("AKIA")),
        *(many("AIza-"), many("hf_a "), many("glpat-"), many(".a", "glpat-aaaaaaaaaaaaaaaa")),
    ],
    "[\x00\ud800-\udfff]": [many("a"), many("\x00")],
    # Answers of a damaged server
    "(^|caused error: )WRONGTYPE |on @user_script|is not an integer|is not a valid float": [
        many("caused error: "),
        many("on @user_scrip"),
        many("is not a"),
    ],
    "-?[0-9]{1,18}": [many("1"), many("-"), many("9", "-")],
    # Shapes on the wire
    (
        r"^(?:[a-z0-9-]+(?:#[a-z][a-z0-9-]*)?|#[a-z][a-z0-9-]*|(?:mailto|tel):[A-Za-z0-9@.+_-]+"
        r"|https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+)$"
    ): [many("a"), many("a-", after="#"), many("a", "https://", "\n"), many("a", "mailto:", " ")],
    "^[a-z]{2,3}(?:-[A-Z]{2})?$": [many("a"), many("aa-A")],
    "^[a-z0-9]+(?:-[a-z0-9]+)*$": [many("a"), many("a-"), many("a", after="-")],
    "^#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$": [many("#"), many("a", "#")],
    "^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$": [many("a/"), many("a.-")],
    "^[0-9a-f]{64}$": [many("a")],
    r"(?:url|src|image|image-set|expression)\s*\(|/\*": [
        many("url "),
        many(" ", "url"),
        many("image-set"),
        many("/"),
    ],
    r"""^(?:[A-Za-z0-9#%.,()' +*/\"-])+$""": [many("a", after=";"), many('"', after="{")],
    "^--[a-z][a-z0-9-]*$": [many("-"), many("a", "--", "!")],
    r"^[^\s\x00-\x20\x7f]+$": [many("a"), many("a", after=" ")],
    # Wishes in words
    r"\s[|–—·:-]\s": [many(" "), many(" |"), many(" -\n", after="|")],  # noqa: RUF001
    "[^a-z0-9]+": [many("-"), many("a-")],
    r"\{(name|subject|Subject|audience|email)\}": [many("{"), many("{name")],
    r"[.;\n]|,\s?(?:and |but )?|\s(?:and|but|then|also)\s": [
        many(" "),
        many(" and"),
        many(", and"),
        many("\n"),
    ],
    r"\b(?:add|include|insert|need|want|with|show|give (?:me|us))\b": [
        many("add_"),
        many("give "),
        many("-"),
    ],
    r"\b(?:remove|delete|drop|without|no|hide|skip|get rid of|take out)\b": [
        many("get rid "),
        many("nono "),
    ],
    (
        r"\b(?:rename(?: (?:it|the site|this))? to|call (?:it|the site)|(?:the )?name "
        r"(?:should be|is))\s{1,9}[\"“']?([^\"”'\n]{2,40})"
    ): [
        many("call it\n"),
        many("\n", "rename to"),
        many("the name is "),
        many(" ", "call it", '"'),
    ],
    (
        r"\b(?:headline|title|heading|hero)\b[^\"“”:]{0,60}(?:\bto\b|:|\bshould (?:be|say)\b)"
        r"\s{0,9}[\"“]?([^\"”\n]{3,120})"
    ): [many("title "), many("title to\n"), many("hero to to\n\n"), many(":\n", "title")],
    (
        r"\b(?:add|include|need|want)\s(?:an?\s|the\s|another\s)?([\w' -]{2,40}?)\s"
        r"(?:page|section)\b"
    ): [many("add "), many(" ", "add"), many("add a pag "), many("add another ")],
    r"\b(?:aim(?:ed)? at|target(?:ing)?|audience (?:is|should be))\s{1,9}(.{3,60})": [
        many("target\n"),
        many("\n", "target"),
        many("aim at "),
        many("audience is"),
    ],
    r"\b(?:dark|darker|night)\b": [many("dark_"), many("darkerr ")],
    r"\b(?:light|lighter|bright|brighter|white)\b": [many("light_"), many("lighterr ")],
    r"\b(?:light|lighter|bright|brighter)\b": [many("light_"), many("lighterr ")],
    r"\b(round|sharp|square|soft)(?:er|ed)?\b": [many("round_"), many("rounderer ")],
    r"[;\n]|\.\s": [many("."), many(".;")],
    r"\bpages?\b": [many("page_"), many("pagesx ")],
    r"\b(?:shorter|simpler|less|fewer|too (?:long|much|busy))\b": [many("too "), many("lessx ")],
    r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b": [many("#"), many("#fffff"), many("f", "#")],
    r"""[\"“«]([^\"“”«»\n]{2,40})[\"”»]""": [many('"'), many('"a'), many("«aaaa"), many("a", '"')],
    (
        r"""\b(?:called|named|titled|brand(?:ed)? as)\s{1,9}[\"“«']?([^\W_][\w&'\u2019.-]{0,60}"""
        r"""(?: [A-Z0-9&][\w&'\u2019.-]{0,60}){0,4})"""
    ): [many("called "), many(" ", "called"), many("A.called "), many("a", "named ")],
    (
        r"\bfor ([A-Z][\w'\u2019-]{1,60}(?: (?:(?:&|and|of|the) ){0,3}[A-Z][\w'\u2019-]{0,60})"
        r"{0,4})"
    ): [many("and ", "for Aa "), many("for A"), many("for Aa and of the "), many("A-", "for A")],
    (
        r"\b(?:for|aimed at|targeting) ((?!a |an |the |my |our |me\b)[a-z][a-z' -]{2,50}?)"
        r"(?=[,.;!?\n]|$| with\b| who\b| that\b| in\b| to\b| including\b)"
    ): [many("for "), many("for a"), many(" ", "for a"), many("for it wit")],
    (
        r"\b(?:for|about|of|on) (?:a |an |the |my |our )?([^,.;!?\n]{3,60}?)"
        r"(?=[,.;!?\n]|$| with\b| that\b| which\b| including\b)"
    ): [many("of "), many("for a "), many(" ", "on "), many("of it wit")],
    (
        r"^\W{0,9}(?:please |can you |could you |i (?:want|need|would like) |we need ){0,3}(?:to )?"
        r"(?:create|build|make|design|generate|develop|set up|need|want)?\s{0,9}(?:me |us )?"
        r"(?:a |an |the |my |our )?(?:(?:simple|new|modern|beautiful|nice|small|web ?site|site|web "
        r"page|landing page|page|homepage)\s{1,9}){0,6}(?:for |about )?"
        r"(?:a |an |the |my |our )?"
    ): [many(" "), many("please "), many("site "), many("-"), many(WORDS)],
    r"\bdark(?:er)? (?:mode|theme|design|look|ui|scheme|background)\b": [many("dark "), many("r ")],
    r"[\w-]+": [many("a"), many("a.")],
    r"^(?:a|an|the|my|our)\s{1,9}": [many(" ", "a"), many("a ")],
    "[a-z]+": [many("a"), many("a1")],
    r"\w+": [many("a"), many("a.")],
    # Files
    r":root \{([^{}]{0,20000})\}": [many(":root {"), many("a", ":root {"), many(":root {aa")],
    "h[1-6]": [many("h"), many("h1")],
    "--([a-z-]{1,64}): (#[0-9a-fA-F]{6});": [many("-"), many("--a: #fffff")],
    r"@import|url\([^()]{0,300}": [many("url("), many("@impor"), many("a", "url(")],
    "(?:https?|mailto|tel):": [many("http"), many("mailto")],
    r"(?P<sign>[+−-])(?P<size>\d{1,6}(?:\.\d{1,3})?) ?(?P<unit>%|pts)?": [  # noqa: RUF001
        many("1", "+"),
        many("+1.1 "),
    ],
    r"\n\s*\n": [many("\n"), many("\n "), many(" ", "\n"), many("\n x")],
    "[A-Za-z0-9][A-Za-z0-9_-]{0,63}": [many("a"), many("a-", after="!")],
    "[^A-Za-z0-9]+": [many("-"), many("a-")],
}
#: What a converter of Django's routes takes, to what is hostile to it.
CONVERTERS: dict[str, list[Maker]] = {
    "uuid": [many("0"), many("01234567-0123-0123-0123-")],
    "int": [many("1"), many("1", after="x")],
    "slug": [many("a"), many("a-", after="!")],
    "str": [many("a"), many("a/")],
    "path": [many("a"), many("/"), many("a/", after="\n")],
}


def _table_of_technologies(*names: str) -> list[str]:
    path = ROOT / "project/agents/content/technologies.toml"
    rules = tomllib.loads(path.read_text(encoding="utf-8"))["rules"]
    return sorted({rule[name] for rule in rules for name in names if name in rule})


def _headers(place: int) -> list[str]:
    path = ROOT / "project/agents/content/technologies.toml"
    rules = tomllib.loads(path.read_text(encoding="utf-8"))["rules"]
    return sorted({rule["header"][place] for rule in rules if "header" in rule})


#: An expression that makes a pattern while the program runs, to patterns that it makes; hostile to
#: them is what they nearly match (`nearly`).
MADE: dict[str, list[str]] = {
    "rule.generator": _table_of_technologies("generator"),
    "rule.html": _table_of_technologies("html"),
    "pattern or ''": _table_of_technologies("cookie", "script", "sheet"),
    "name": _headers(0),
    "value": _headers(1),
    "words": [r"\b(?:About\ us|about\-us)\b", r"\b(?:Home|index)\b"],
    "f'(?<![\\\\w-])(?:{words})(?![\\\\w-])'": [r"(?<![\w-])(?:sign\ up|login|log\ in)(?![\w-])"],
    "f'<path:object_id>/{name}/'": ["<path:object_id>/cancel/"],
}


def nearly(pattern: str) -> list[Maker]:
    """Texts of a shortest match without its last character, and of that character's run."""
    match = _shortest(_parser.parse(pattern)) or "a"
    return [many(match[:-1] or match), many(match), many(match[-1], match[:-1])]


def _shortest(nodes: Iterable[Any]) -> str:
    return "".join(_one(kind, value) for kind, value in nodes)


def _one(kind: Any, value: Any) -> str:
    if kind is c.LITERAL:
        return chr(value)
    if kind is c.IN:
        return _member(*value[0])
    if kind is c.BRANCH:
        return _shortest(value[1][0])
    if kind is c.SUBPATTERN:
        return _shortest(value[3])
    if kind in (c.MAX_REPEAT, c.MIN_REPEAT):
        return _shortest(value[2]) * max(value[0], 1)
    return ""


def _member(kind: Any, value: Any) -> str:
    if kind is c.RANGE:
        return chr(value[0])
    if kind is c.CATEGORY:
        return {c.CATEGORY_DIGIT: "1", c.CATEGORY_SPACE: " "}.get(value, "a")
    return chr(value) if kind is c.LITERAL else "a"
