"""Fingerprints of failures: the same cause has the same one, whatever ids and numbers it names.

The rules are versioned: a fingerprint begins with VERSION, so that changed rules begin new groups
instead of mixing with old ones.
"""

import hashlib
import re

VERSION = 1

LONGEST_CODE = 64
"""Characters of an error's code in a column; `fitting` shortens longer ones."""

LONGEST_CLASS = 64
"""The same of the name of an exception's class."""

LONGEST_MESSAGE = 1_000
"""Characters of a message that are read; a bound for the time."""

COMPARED = 300
"""Characters of the normalized message that count. Fewer than are read, as ids of another length
move the place where the message is cut."""

LONGEST_STACK = 64 * 1024
"""Characters from the end of a stack that are read."""

FRAMES = 5
"""Innermost frames of the host's own code that count."""

LIBRARY_FRAMES = 3
"""Innermost frames that count when all are of libraries."""

HEADER = "Traceback (most recent call last):"

LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3", "/plugspace_queue/")
"""Parts of paths, in small letters, of code that is not the host's own."""

# One pass over the text, the first rule that matches wins. All quantifiers are bounded: the time is
# linear. Within a word only figures and a quote can begin a variable part, which saves half of it.
_VARIABLE = re.compile(
    r"""(?:(?<![A-Za-z])|(?=[\d"]))(?:(?P<text>"[^"\n]{20,2048}"|(?<!\w)'[^'\n]{20,2048}'(?!\w))"""
    r"""|(?P<url>\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s"'<>`]{1,2048})"""
    r"|(?P<email>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"
    r"|(?P<uuid>(?<![A-Za-z0-9])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})"
    r"|(?P<time>(?<!\d)\d{4}-\d\d-\d\d"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?(?!\d))"
    r"|(?P<clock>(?<!\d)\d\d?:\d\d:\d\d(?:[.,]\d{1,9})?(?!\d))"
    r"|(?P<address>(?<![A-Za-z0-9])0[xX][0-9A-Fa-f]{1,64})"
    r"|(?P<path>(?<![\w./~-])(?:~|[A-Za-z]:)?(?:[/\\][\w.@%+~-]{1,255}){1,64})"
    # Hexadecimal digits, at least one of them a figure; or letters and figures in one long word, in
    # a shorter one behind `_` or `-`.
    r"|(?P<id>(?<![A-Za-z0-9])(?:(?=[A-Fa-f]{0,63}\d)[0-9A-Fa-f]{8,128}"
    r"|(?=[A-Za-z]{0,63}\d)(?=\d{0,63}[A-Za-z])(?:[A-Za-z0-9]{12,256}"
    r"|(?<=[_-])[A-Za-z0-9]{8,11}))(?![A-Za-z0-9]))"
    # A lone HTTP status is not a variable part but says what happened.
    r"|(?P<status>(?<![\w.:-])[45]\d\d(?![\w:]|\.\d| ?(?:m?s|%|[kKMGT]i?B)\b))"
    r"|(?P<number>\d{4,64}"
    r"|(?<![A-Za-z0-9])\d{1,64}(?:[.,:]\d{1,64}){0,8}(?: ?(?:[mµn]?s|min|h|%|[kKMGT]?i?B)\b)?))"
)

_KEPT = "status"
_NUMBER = "#"


def fingerprint(task_type: str, exception: str, message: str, stack: str = "") -> str:
    """The fingerprint of a failure: its version and 16 hexadecimal digits.

    `exception` is the name of its class, `stack` as the `traceback` module formats it; both may be
    empty. Never raises, and takes a bounded time.

    >>> fingerprint("CODE", "", "No site 17") == fingerprint("CODE", "", "No site 18")
    True
    >>> fingerprint("CODE", "KeyError", "'palette'")
    '1:749dfe416b79425d'
    """
    parts = (task_type, exception, normalized(message), *frames(stack))
    digest = hashlib.sha256("\x1f".join(parts).encode(errors="replace")).hexdigest()
    return f"{VERSION}:{digest[:16]}"


def normalized(message: str) -> str:
    """The message without what differs from one failure of a cause to the next.

    >>> normalized("user ann@example.com has no job_k3jf92la in /srv/app/a.txt after 12.5 s")
    'user <email> has no job_<id> in <path> after #'
    >>> normalized("KeyError: 'palette'"), normalized("503 of the model, try 2 of 3")
    ("KeyError: 'palette'", '503 of the model, try # of #')
    """
    text = _VARIABLE.sub(_replaced, message[:LONGEST_MESSAGE])
    return " ".join(text.split())[:COMPARED]


def frames(stack: str) -> tuple[str, ...]:
    """The innermost frames of the raised exception, as `file:function`.

    Frames of libraries count only when there are no others. Directories and line numbers differ
    from one deployment to the next and are left out. A stack without the line with which an
    exception's begins has none: it shows where an interruption met the code, which is by chance.

    >>> frames('''Traceback (most recent call last):
    ...   File "/srv/app/sites/build.py", line 7, in build
    ...     return palette["dark"]
    ... KeyError: 'dark'
    ... ''')
    ('build.py:build',)
    """
    _, header, text = stack[-LONGEST_STACK:].rpartition(HEADER)
    if not header:
        return ()
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        path, function = _frame(line)
        # A recursion counts once, however deep it went.
        if function and (not found or found[-1] != (path, function)):
            found.append((path, function))
    own = [frame for frame in found if not _is_library(frame[0])]
    chosen = own[-FRAMES:] or found[-LIBRARY_FRAMES:]
    return tuple(f"{path.rpartition('/')[2]}:{function}" for path, function in chosen)


def _frame(line: str) -> tuple[str, str]:
    """Path and function of a line that names a frame; two empty texts for any other line."""
    # Those of exception groups are indented with a bar.
    start, quote, rest = line.strip(" |").partition('"')
    path, quote, rest = rest.partition('", line ')
    _, comma, function = rest.partition(", in ")
    if start != "File " or not (quote and comma):
        return "", ""
    return path.replace("\\", "/"), function


def _is_library(path: str) -> bool:
    lower = path.lower()
    return path.startswith("<") or any(part in lower for part in LIBRARIES)


def _replaced(match: "re.Match[str]") -> str:
    name = match.lastgroup
    if name == _KEPT:
        return match[0]
    return _NUMBER if name == "number" else f"<{name}>"
