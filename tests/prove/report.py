"""The page that `make prove` writes: revision, machine, and what became of each stage."""

import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime

from benchmarks import machine
from tests.prove.stages import ROOT, Result


def page(began: datetime, results: Sequence[Result]) -> str:
    """The report as Markdown."""
    return "\n".join([*_head(began), *_table(results), *_details(results), ""])


def revision() -> str:
    """The commit that is checked out; `+` when files differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "HEAD") + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _head(began: datetime) -> Iterator[str]:
    changed = revision().endswith("+")
    yield f"# Proofs of {began:%Y-%m-%d}, revision {revision()[:7]}"
    yield ""
    yield f"Revision `{revision()}`{', with changes that were not committed' if changed else ''}."
    about = machine.describe()
    yield ", ".join(f"{name} {value}" for name, value in about.items()) + "."
    yield f"Begun {began:%H:%M} UTC, load {machine.load()} at the end."
    yield ""


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield "| stage | what it proves | outcome | seconds |"
    yield "|---|---|---|---|"
    for one in results:
        yield f"| {one.stage.name} | {one.stage.what} | {one.word} | {one.seconds:.0f} |"


def _details(results: Sequence[Result]) -> Iterator[str]:
    for one in results:
        if one.told:
            yield f"\n## {one.stage.name}\n\n```\n" + "\n".join(one.told) + "\n```"
