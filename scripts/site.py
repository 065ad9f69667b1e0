"""`make site`: build the documentation's site into var/site/html; a warning is an error.

The pages are Markdown that is read in the repository too. So they are copied first, with the three
pages of the root, and their links are written for the copy: a link to a file that is no page of the
site becomes plain text. The contents of the site are the links of docs/index.md, in their order.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = ROOT / "var" / "site"

OF_ROOT = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages of the repository's root → their names in the site."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy the pages and run Sphinx on them; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.site", description=__doc__)
    parser.add_argument("--into", type=Path, default=SITE, metavar="DIRECTORY")
    into: Path = parser.parse_args(arguments).into
    source, html = into / "source", into / "html"
    for old in (source, html):
        shutil.rmtree(old, ignore_errors=True)
    stage(source)
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q"]
    code = subprocess.run([*command, source, html], cwd=ROOT, check=False).returncode
    if not code:
        sys.stdout.write(f"The site is {html / 'index.html'}\n")
    return code


def stage(source: Path) -> None:
    """Write what Sphinx reads: every page with its links, pictures, contents and settings."""
    copies = {path: source / name for path, name in names().items()}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            copy.write_text(_rewritten(path, copies) + _contents(path), encoding="utf-8")
        else:
            shutil.copyfile(path, copy)


def names() -> dict[Path, str]:
    """Each file of the site → its name there."""
    own = [path for path in DOCS.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = {path: path.relative_to(DOCS).as_posix() for path in own}
    names |= {path: name.replace("README", "index") for path, name in names.items()}
    return names | {ROOT / name: other for name, other in OF_ROOT.items()}


def _rewritten(path: Path, copies: dict[Path, Path]) -> str:
    def link(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups(default="")
        copy = copies.get((path.parent / target).resolve())
        if copy is None:
            # Code of the repository, which the site does not have; what is not there is an error.
            return text if (path.parent / target).exists() else found[0]
        return f"{mark}[{text}]({os.path.relpath(copy, copies[path].parent)}{anchor})"

    return LINK.sub(link, path.read_text(encoding="utf-8"))


def _contents(path: Path) -> str:
    """The tables of contents that a page needs; hidden, because the page has the links itself."""
    if path == DOCS / "index.md":
        return "".join(_table(f":caption: {title}", pages) for title, pages in _sections(path))
    if path.name == "README.md" and path.parent != ROOT:
        return _table(":glob:", ["*"])
    return ""


def _table(option: str, pages: Iterable[str]) -> str:
    return "\n".join(("", "```{toctree}", ":hidden:", option, "", *pages, "```", ""))


def _sections(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each heading of the index and the pages that are linked below it."""
    named = names()
    for section in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        targets = ((path.parent / found[3]).resolve() for found in LINK.finditer(text))
        yield title, [named[target] for target in targets]


if __name__ == "__main__":
    sys.exit(main())
