"""Text from outside: checks, replaces and shortens what cannot be stored."""

import hashlib
import re
from collections.abc import Iterable

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


find_unstorable = _UNSTORABLE.search
"""The first match that one of the databases cannot store, or None; for hot paths."""


def is_clean(text: str) -> bool:
    """Whether both databases can store it: no U+0000, no lone surrogate.

    >>> is_clean("ok"), is_clean("a\\x00"), is_clean("\\ud800")
    (True, False, False)
    """
    return _UNSTORABLE.search(text) is None


def clean(text: str) -> str:
    """The text with U+FFFD in place of what cannot be stored.

    >>> clean("a\\x00b")
    'a\ufffdb'
    """
    return _UNSTORABLE.sub("\ufffd", str(text))


def shortened(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, marked where it was cut.

    >>> shortened("abcdef", 5)
    'ab…'
    """
    data = text.encode()
    if len(data) <= limit:
        return text
    return data[: max(limit - 3, 0)].decode(errors="ignore") + "…"


def shortened_within(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8 with a mark in the middle, where it was cut.

    For a stack, which tells at its end where it was raised.

    >>> shortened_within("a" * 8 + "z" * 8, 12), shortened_within("abc", 12)
    ('a…zzzzzzzz', 'abc')
    """
    data = text.encode()
    if len(data) <= limit:
        return text
    room = max(limit - 3, 0)
    start, end = data[: room // 8], data[len(data) - (room - room // 8) :]
    return f"{start.decode(errors='ignore')}…{end.decode(errors='ignore')}"


def fitting(text: str, limit: int) -> str:
    """At most `limit` characters that can be stored; of a longer text with a digest of it all.

    >>> fitting("abc", 20), fitting("a" * 30, 20)
    ('abc', 'aaaaaaaaaaa…3a54fc0c')
    """
    text = clean(text)
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: limit - 9]}…{digest}"


def all_clean(value: object) -> bool:
    """Whether every string in a JSON value, keys included, can be stored."""
    if isinstance(value, str):
        return is_clean(value)
    if isinstance(value, dict):
        return all(all_clean(key) and all_clean(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(all_clean(entry) for entry in value)
    return True


def one_of(names: Iterable[str]) -> str:
    """The names as pydantic lists the members of an enumeration.

    >>> one_of(["a", "b", "c"]), one_of([])
    ("'a', 'b' or 'c'", 'none')
    """
    *others, last = [repr(name) for name in names] or ["none"]
    return f"{', '.join(others)} or {last}" if others else last
