"""The package's modules as syntax trees, parsed once, and who imports whom."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import plugspace_queue

HOME = Path(plugspace_queue.__file__).parent
NAME = HOME.name


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file; `name` is its dotted path inside the package, empty for the package itself."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__` of a folder."""
        return self.path.stem == "__init__"

    @property
    def word(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]


@cache
def modules() -> Mapping[str, Module]:
    """All modules but migrations, by their names."""
    paths = (path for path in HOME.rglob("*.py") if "migrations" not in path.parts)
    read = [_module(path) for path in sorted(paths)]
    return {module.name: module for module in read}


@cache
def importers() -> Mapping[str, frozenset[str]]:
    """Module to the modules of the package that import it."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules().values():
        for target in _imports(module.tree):
            if target != module.name:
                found[target].add(module.name)
    return {target: frozenset(names) for target, names in found.items()}


def classes() -> Mapping[str, list[str]]:
    """Name of a class at the top of a module to the modules that define one."""
    found: dict[str, list[str]] = defaultdict(list)
    for module in modules().values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(module.name)
    return found


def _module(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(HOME).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    return Module(name=name, path=path, tree=ast.parse(text), lines=len(text.splitlines()))


def _imports(tree: ast.Module) -> Iterator[str]:
    """The package's modules that a module imports anywhere, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from _named(f"{node.module}.{alias.name}", node.module)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _named(alias.name)


def _named(*paths: str) -> Iterator[str]:
    """The first of these dotted paths that is a module of the package."""
    ours = [path for path in paths if path == NAME or path.startswith(f"{NAME}.")]
    names = [path.removeprefix(NAME).removeprefix(".") for path in ours]
    yield from [name for name in names if name in modules()][:1]
