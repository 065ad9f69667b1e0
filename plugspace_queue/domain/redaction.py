"""Hides values in JSON of tenants whose names or forms suggest a secret."""

import json
import re
from itertools import pairwise
from typing import Any

HIDDEN = "•••• hidden"
LONGEST = 200_000
"""Characters of one value that are shown, indents included; what follows is not even read."""
_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "apikey"}
    | {"authorization", "credential", "credentials", "cookie"}
)
_PAIRS = frozenset({("api", "key"), ("private", "key"), ("access", "key"), ("secret", "key")})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Text is cut to LONGEST before it is searched, so the bounds let no secret through. No run can hold
# the `://` or the space that the next match would begin with: each character is read once.
# A password may hold `/` and `@`, and ends at the last `@`; digits before a `/` are a port.
_IN_ADDRESS = re.compile(
    r"""(://[^\s/:"'<>\[]{0,200000}):(?!\d{1,5}/)"""
    r"[^\s:]{0,200000}(?::(?!//)[^\s:]{0,200000}){0,200000}@"
)
_BEARER = re.compile(r"\b(Bearer|Basic) {1,200000}[A-Za-z0-9._~+/=-]{8,200000}", re.IGNORECASE)
# The same at the end of text that was cut, whose end is not known.
_CUT_ADDRESS = re.compile(
    r"""(://[^\s/:"'<>\[]{0,200000}):(?!\d{1,5}/)"""
    r"[^\s:]{0,200000}(?::(?!//)[^\s:]{0,200000}){0,200000}\Z"
)
_CUT_BEARER = re.compile(
    r"\b(Bearer|Basic) {1,200000}[A-Za-z0-9._~+/=-]{0,200000}\Z", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Whether a key names a secret; `tokens` and `maxTokens` are counts and styles.

    >>> [is_secret(n) for n in ("password", "accessToken", "API_KEY", "tokens", "monkey")]
    [True, True, True, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = pairwise(words)
    return bool(_WORDS.intersection(words)) or any(pair in _PAIRS for pair in pairs)


def redacted(value: Any) -> Any:
    """The first LONGEST characters of the JSON, without secrets; the original stays as it is.

    >>> redacted({"apiKey": "x", "pages": [{"secret": {"a": 1}, "url": "https://a:b@c/"}]})
    {'apiKey': '•••• hidden', 'pages': [{'secret': '•••• hidden', 'url': 'https://a:••••@c/'}]}
    """
    return excerpt(value)[0]


def excerpt(value: Any) -> tuple[Any, int]:
    """The same, and how many characters were left out behind its end.

    >>> excerpt(["x" * 200_006])[1]
    16
    """
    reader = _Reader()
    return reader.shown(value, 0), reader.left


class _Reader:
    """Copies a value until the limit of shown characters is reached."""

    def __init__(self) -> None:
        self._room = LONGEST
        self.left = 0

    def shown(self, value: Any, depth: int) -> Any:
        # Each entry is a line of its own when it is shown, indented by two for each level.
        self._room -= 4 + 2 * depth
        if isinstance(value, dict):
            return self._entries(value, depth + 1)
        if isinstance(value, list):
            return self._items(value, depth + 1)
        return self._text(value) if isinstance(value, str) else value

    def _entries(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        found = {}
        for key, entry in value.items():
            if self._room <= 0:
                self._leave({key: entry})
                continue
            name = self._taken(key) if isinstance(key, str) else key
            hides = entry not in (None, "") and is_secret(str(name))
            found[name] = HIDDEN if hides else self.shown(entry, depth)
        return found

    def _items(self, value: list[Any], depth: int) -> list[Any]:
        found = []
        for entry in value:
            if self._room <= 0:
                self._leave(entry)
                continue
            found.append(self.shown(entry, depth))
        return found

    def _text(self, text: str) -> str:
        taken = self._taken(text)
        if len(taken) < len(text):
            taken = _CUT_BEARER.sub(r"\1 ••••", _CUT_ADDRESS.sub(r"\1:••••", taken))
        return _BEARER.sub(r"\1 ••••", _IN_ADDRESS.sub(r"\1:••••@", taken))

    def _taken(self, text: str) -> str:
        taken = text[: max(self._room, 0)]
        self._room -= len(taken)
        self.left += len(text) - len(taken)
        return taken

    def _leave(self, entry: Any) -> None:
        self.left += len(json.dumps(entry, ensure_ascii=False))
