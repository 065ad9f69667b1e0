"""The pages of the documentation and their fenced blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda path: path.as_posix()
)
FENCE = re.compile(r"^ *```(\w*) ?(.*?)\n(.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: language, mark, text, and where it stands."""

    page: Path
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{named(self.page)}: {self.text.strip().splitlines()[0][:60]}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of one page, in their order."""
    for language, mark, text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield Block(page, language, mark, text)


def blocks(*languages: str, mark: str | None = None) -> list[Block]:
    """The blocks of all pages in these languages."""
    return [
        block
        for page in PAGES
        for block in blocks_of(page)
        if block.language in languages and mark in (None, block.mark)
    ]


def named(page: Path) -> str:
    """The page's path from the root."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))
