"""Removes absolute paths and secrets from text that was not written for tenants.

`redaction` does so for JSON, by the names and forms of its values. Every quantifier is bounded, so
that the time is linear in the length of the text.
"""

import re

from plugspace_queue.domain.redaction import redacted

PATH = "[path]"
SECRET = "••••"

# In quotes a path may hold blanks.
_QUOTED_PATH = re.compile(
    r"""(["'`])(?:file:/{1,3}|(?:~(?:[A-Za-z_][\w.-]{0,31})?)?/|[A-Za-z]:[\\/]|\\\\)[^"'`\n]{0,1024}\1""",
    re.IGNORECASE,
)
# Not behind the `:` of an address with a host, nor inside a relative path or a fraction.
_PATH = re.compile(
    r"(?:\bfile:/{1,3}"
    r"|(?<=://)/"
    r"|(?<![\w/.~-])(?:~(?:[A-Za-z_][\w.-]{0,31})?)?/(?!/)"
    r"|(?<![\w:/.~-])//(?=\w)"
    r"|(?<![A-Za-z])[A-Za-z]:[\\/](?!/)"
    r"|\\\\)"
    r"""[^\s"'`<>|]{1,1024}""",
    re.IGNORECASE,
)
# A block without its end was cut: all that follows belongs to it.
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,64}-----(?:[^-]|-(?!----)){0,16384}(?:-----END [A-Z0-9 ]{1,64}-----)?"
)
_AUTHORIZATION = re.compile(r"""(authorization["']?\s{0,3}[:=]\s{0,3})[^\s][^\n]{0,1024}""", re.I)
_NAMED = re.compile(
    r"((?:passw(?:or)?d|passphrase|pwd|secret|token|api[-_ ]?key|access[-_]?key|private[-_]?key"
    r"""|credentials?|cookie)["']?\s{0,3}[:=]\s{0,3})"""
    r"""(?:"[^"\n]{0,1024}"|'[^'\n]{0,1024}'|[^\s"',;&)}\]]{1,1024})""",
    re.IGNORECASE,
)
_KNOWN = re.compile(
    r"\b(?:[spr]k[-_][A-Za-z0-9_-]{16,512}|gh[opsu]_[A-Za-z0-9]{20,255}"
    r"|github_pat_[A-Za-z0-9_]{20,255}|xox[abps]-[A-Za-z0-9-]{10,255}|AKIA[A-Z0-9]{12,32}"
    r"|AIza[A-Za-z0-9_-]{16,255}|hf_[A-Za-z0-9]{16,255}"
    r"|gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{16,255}(?:\.[A-Za-z0-9_-]{1,255}){0,4}"
    r"|eyJ[A-Za-z0-9_.-]{16,4096})"
)


def public_text(text: str) -> str:
    """The text without absolute paths and without what has the form of a secret.

    >>> public_text("no file '/srv/app/a b.txt', see https://host/x?token=abc")
    'no file [path], see https://host/x?token=••••'
    """
    # Addresses first, as a password may look like a path; a name hides one word, no block of lines.
    text = _PEM.sub(SECRET, str(redacted(text)))
    for pattern, instead in (
        (_AUTHORIZATION, rf"\g<1>{SECRET}"),
        (_NAMED, rf"\g<1>{SECRET}"),
        (_KNOWN, SECRET),
        (_QUOTED_PATH, PATH),
        (_PATH, PATH),
    ):
        text = pattern.sub(instead, text)
    return text
