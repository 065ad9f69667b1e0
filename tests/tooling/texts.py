"""Texts in the package's source that a user may read, found through the syntax tree."""

import ast
from collections.abc import Iterator

from tests.tooling.sources import Module

MARKED = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "translated"}
"""Calls that translate a text, or mark it for a translation."""

LOGS = {"debug", "info", "warning", "error", "exception", "log"}

TO_PROGRAMMERS = {
    *{"AttributeError", "ImproperlyConfigured", "LookupError", "RuntimeError", "TypeError"},
}
"""Errors of a call or a setting that is wrong: a traceback shows them, no page."""

DESCRIPTIONS = {"description", "summary"}
"""Arguments that describe an operation or a field in the OpenAPI document."""

DESCRIBING = {"Metric", "GaugeMetricFamily", "OpenApiResponse", "listen", "operation", "submit"}
"""Calls with such a text in another place; metrics have a help text for Prometheus."""

NAMING = {"__str__", "__repr__"}

SQL = ("SELECT ", "UPDATE ", "INSERT ", "DELETE ", " UNION ")


def untranslated(module: Module) -> Iterator[tuple[int, str]]:
    """Line and text of each literal of two words or more that no call marks for translation."""
    yield from _found(module.tree)


def _found(node: ast.AST) -> Iterator[tuple[int, str]]:
    text = _text(node)
    if text is not None:
        if _is_sentence(text):
            yield getattr(node, "lineno", 0), text
        return
    for child in ast.iter_child_nodes(node):
        if not _is_left_out(node, child):
            yield from _found(child)


def _text(node: ast.AST) -> str | None:
    """The text of a literal, with `{}` for each value; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
        return "".join(map(str, parts))
    return None


def _is_sentence(text: str) -> bool:
    words = [word for word in text.replace("{}", "").split() if any(map(str.isalpha, word))]
    return len(words) > 1 and not any(word in text for word in SQL)


def _is_left_out(parent: ast.AST, child: ast.AST) -> bool:
    if isinstance(parent, ast.Call) and _name(parent) in DESCRIBING and _text(child) is not None:
        return True
    if isinstance(child, ast.Expr):
        return isinstance(child.value, ast.Constant)
    if isinstance(child, ast.FunctionDef):
        return child.name in NAMING
    if isinstance(child, ast.keyword):
        return child.arg in DESCRIPTIONS and not _is_of_admin(parent)
    if isinstance(child, ast.Raise):
        return isinstance(child.exc, ast.Call) and _name(child.exc) in TO_PROGRAMMERS
    return _is_annotation(parent, child) or (isinstance(child, ast.Call) and _is_other_call(child))


def _is_other_call(call: ast.Call) -> bool:
    """Whether it marks its text, logs it, describes by it, or compiles it as a pattern."""
    name, owner = _name(call), ast.unparse(call.func).rpartition(".")[0]
    is_log = name in LOGS and owner.endswith(("logger", ".log"))
    return is_log or name == "compile" or name in MARKED


def _is_of_admin(parent: ast.AST) -> bool:
    """Whether it is `@admin.display` or `@admin.action`, whose description is a label."""
    return isinstance(parent, ast.Call) and ast.unparse(parent.func).startswith("admin.")


def _is_annotation(parent: ast.AST, child: ast.AST) -> bool:
    return child in (getattr(parent, "annotation", None), getattr(parent, "returns", None))


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]
