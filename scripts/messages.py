"""`make messages`: write every text of the package that can be translated to var/django.pot.

`makemessages` of Django does not find the default messages of errors, which are their docstrings.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from django.utils.translation.template import templatize

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "plugspace_queue"
TARGET = ROOT / "var" / "django.pot"
SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop", "translated"}
_TEXT = r"""u?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
IN_TEMPLATE = re.compile(rf"(?:_|\bgettext)\({_TEXT}\)|ngettext\({_TEXT}, *{_TEXT}")
HEAD = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'

Message = tuple[str, ...]
"""A text, or singular and plural."""


def main() -> None:
    """Write the file."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(HEAD + "".join(map(_entry, sorted(messages().items()))), encoding="utf-8")
    sys.stdout.write(f"{TARGET} written\n")


def messages() -> dict[Message, set[str]]:
    """Each message with the files that have it."""
    found: dict[Message, set[str]] = {}
    # The errors first: other modules derive theirs from them.
    errors = {"QueueError"}
    for path in [PACKAGE / "errors.py", *sorted(PACKAGE.rglob("*.py"))]:
        for message in _of_code(ast.parse(path.read_text(encoding="utf-8")), errors):
            found.setdefault(message, set()).add(path.relative_to(ROOT).as_posix())
    for path in sorted(PACKAGE.rglob("*.html")):
        for message in _of_template(path):
            found.setdefault(message, set()).add(path.relative_to(ROOT).as_posix())
    return found


def _of_code(tree: ast.Module, errors: set[str]) -> Iterator[Message]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            count = 1 if name in SINGULAR else 2 if name == "ngettext" else 0
            texts = [a.value for a in node.args[:count] if isinstance(a, ast.Constant)]
            if count and len(texts) == count:
                yield tuple(map(str, texts))
        elif isinstance(node, ast.ClassDef) and errors & _names(node):
            errors.add(node.name)
            yield ((ast.get_docstring(node, clean=False) or "").strip(),)


def _names(node: ast.ClassDef) -> set[str]:
    """The class and its bases."""
    return {node.name, *(ast.unparse(base).rpartition(".")[2] for base in node.bases)}


def _of_template(path: Path) -> Iterator[Message]:
    code = templatize(path.read_text(encoding="utf-8"), origin=str(path))
    for one, singular, plural in IN_TEMPLATE.findall(code):
        yield tuple(map(ast.literal_eval, filter(None, (one, singular, plural))))


def _entry(message: tuple[Message, set[str]]) -> str:
    texts, places = message
    flag = "#, python-format\n" if any("%(" in text for text in texts) else ""
    said = "".join(
        f"msgid{'_plural' if at else ''} {_quoted(text)}\n" for at, text in enumerate(texts)
    )
    empty = 'msgstr[0] ""\nmsgstr[1] ""\n' if len(texts) > 1 else 'msgstr ""\n'
    return f"\n#: {' '.join(sorted(places))}\n{flag}{said}{empty}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


if __name__ == "__main__":
    main()
