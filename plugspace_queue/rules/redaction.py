"""What is left out when JSON of tenants is shown: values whose names or forms say "secret"."""

import re
from itertools import pairwise
from typing import Any

HIDDEN = "•••• hidden"
_WORDS = frozenset(
    {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "apikey"}
    | {"authorization", "credential", "credentials", "cookie"}
)
_PAIRS = frozenset({("api", "key"), ("private", "key"), ("access", "key"), ("secret", "key")})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE)
_BEARER = re.compile(r"\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a key names a secret; `tokens` and `maxTokens` are counts and styles.

    >>> [is_secret(n) for n in ("password", "accessToken", "API_KEY", "tokens", "monkey")]
    [True, True, True, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = pairwise(words)
    return bool(_WORDS.intersection(words)) or any(pair in _PAIRS for pair in pairs)


def redacted(value: Any) -> Any:
    """The JSON without its secrets; the original stays as it is.

    >>> redacted({"apiKey": "x", "pages": [{"secret": {"a": 1}, "url": "https://a:b@c/"}]})
    {'apiKey': '•••• hidden', 'pages': [{'secret': '•••• hidden', 'url': 'https://a:••••@c/'}]}
    """
    if isinstance(value, dict):
        return {
            key: HIDDEN if entry not in (None, "") and is_secret(str(key)) else redacted(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [redacted(entry) for entry in value]
    if isinstance(value, str):
        return _BEARER.sub(r"\1 ••••", _IN_ADDRESS.sub(r"\1:••••@", value))
    return value
