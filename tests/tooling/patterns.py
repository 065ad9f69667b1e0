"""Every regular expression of the package and the demo, found through the syntax tree."""

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
TREES = ("plugspace_queue", "project")
#: Functions of `re` by what they do with the text: find all, find from the start, or take all.
USES = {
    "search": "find",
    "findall": "find",
    "finditer": "find",
    "sub": "find",
    "subn": "find",
    "split": "find",
    "match": "match",
    "fullmatch": "fullmatch",
}
#: Calls whose first argument (or `regex`) is searched for by Python's `re`.
SEARCHERS = {"RegexValidator", "RegexField", "re_path"}
#: Names in a class body that hold a pattern: Django's converters, REST framework's viewsets.
NAMES = {"regex", "lookup_value_regex"}
FLAGS = {"I", "IGNORECASE", "M", "MULTILINE", "S", "DOTALL", "X", "VERBOSE", "A", "ASCII"}
KINDS = (ast.Import, ast.ImportFrom, ast.Assign, ast.Attribute, ast.Call)


@dataclass
class Found:
    """One pattern: its text, or the expression that makes it while the program runs."""

    text: str
    is_made: bool = False
    flags: int = 0
    uses: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)


def every() -> dict[str, Found]:
    """All patterns by their text."""
    trees = [_Tree(path) for name in TREES for path in sorted((ROOT / name).rglob("*.py"))]
    used: dict[str, set[str]] = defaultdict(set)
    for tree in trees:
        for name, use in tree.uses():
            used[name].add(use)
    every: dict[str, Found] = {}
    for tree in trees:
        for one in tree.patterns(used):
            known = every.setdefault(one.text, one)
            known.uses |= one.uses
            known.flags |= one.flags
            if known is not one:
                known.places += one.places
    return every


class _Tree:
    """The syntax tree of one file."""

    def __init__(self, path: Path) -> None:
        self._file = path.relative_to(ROOT)
        # Walked once: every process of a parallel run reads all files before its first test.
        walked = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        self._nodes = [node for node in walked if isinstance(node, KINDS)]
        self._modules = {"re"}
        self._functions: dict[str, str] = {}
        for node in self._nodes:
            self._note_import(node)

    def _note_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self._modules |= {a.asname for a in node.names if a.name == "re" and a.asname}
        if isinstance(node, ast.ImportFrom) and node.module == "re":
            self._functions |= {a.asname or a.name: a.name for a in node.names}

    def uses(self) -> Iterator[tuple[str, str]]:
        """What is done with patterns that have a name: (name, use)."""
        for node in self._nodes:
            if isinstance(node, ast.Attribute) and node.attr in USES:
                yield ast.unparse(node.value).rpartition(".")[2], USES[node.attr]

    def patterns(self, used: dict[str, set[str]]) -> Iterator[Found]:
        for node in self._nodes:
            if isinstance(node, ast.Assign):
                yield from self._assigned(node, used)
            if isinstance(node, ast.Call):
                yield from self._called(node)

    def _assigned(self, node: ast.Assign, used: dict[str, set[str]]) -> Iterator[Found]:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        call = node.value
        if isinstance(call, ast.Call) and self._function(call) == "compile":
            uses = set().union(*(used[name] for name in names))
            yield self._found(call.args[0], call, uses or {"find"})
        elif NAMES.intersection(names):
            yield self._found(node.value, node, {"find", "fullmatch"})

    def _called(self, call: ast.Call) -> Iterator[Found]:
        function, name = self._function(call), _last_name(call.func)
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        if function in USES:
            yield self._found(call.args[0], call, {USES[function]})
        elif function == "compile":
            # Again, for a pattern that is compiled without getting a name.
            yield self._found(call.args[0], call, set())
        elif name in SEARCHERS:
            yield self._found(given.get("regex") or call.args[0], call, {"find"})
        elif "pattern" in given:
            yield self._found(given["pattern"], call, {"pydantic"})
        elif name in ("path", "address") and call.args and "<" in ast.unparse(call.args[0]):
            yield self._found(call.args[0], call, {"route"})
        for lookup, value in given.items():
            if lookup.endswith(("__regex", "__iregex")):
                yield self._found(value, call, {"find"})

    def _function(self, call: ast.Call) -> str:
        """The function of `re` that is called, else an empty text."""
        if isinstance(call.func, ast.Name):
            return self._functions.get(call.func.id, "")
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            return call.func.attr if call.func.value.id in self._modules else ""
        return ""

    def _found(self, pattern: ast.expr, whole: ast.AST, uses: set[str]) -> Found:
        text, is_made = ast.unparse(pattern), True
        value = self._value(text)
        if isinstance(value, str):
            text, is_made = value, False
        flags = [
            getattr(re, node.attr)
            for node in ast.walk(whole)
            if isinstance(node, ast.Attribute) and node.attr in FLAGS
        ]
        place = f"{self._file}:{getattr(whole, 'lineno', 0)}"
        return Found(text, is_made, sum(set(flags)), set(uses), [place])

    def _value(self, expression: str) -> Any:
        """What a constant expression is worth; None when it depends on a call's variables."""
        try:
            return ast.literal_eval(expression)
        except ValueError:
            pass
        try:
            return eval(expression, dict(vars(self._module())))
        except (NameError, AttributeError):
            return None

    def _module(self) -> ModuleType:
        parts = self._file.with_suffix("").parts
        return importlib.import_module(".".join(parts).removesuffix(".__init__"))


def _last_name(expression: ast.expr) -> str:
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def passed_on() -> list[str]:
    """Places where a function of `re` is given away instead of called."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for name in TREES
        for path in sorted((ROOT / name).rglob("*.py"))
        for node in _given(ast.parse(path.read_text(encoding="utf-8")))
    ]


def _given(tree: ast.AST) -> Iterator[ast.Attribute]:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in {*USES, "compile"}
            and ast.unparse(node.value) == "re"
            and id(node) not in called
        ):
            yield node
