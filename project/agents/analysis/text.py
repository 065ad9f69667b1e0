"""Text of strange pages: PostgreSQL stores neither U+0000 nor lone surrogates."""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """The text with U+FFFD in place of what cannot be stored.

    >>> clean("a\\x00b")
    'a�b'
    """
    return _UNSTORABLE.sub("�", str(text))
