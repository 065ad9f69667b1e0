"""An earlier revision beside this checkout: cloned, installed, and driven by the same measures."""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from benchmarks import processes
from benchmarks.environments import Unavailable
from benchmarks.measures import Measure
from benchmarks.processes import ROOT, ChildFailed
from benchmarks.systems.ours import Checkout, Ours

KEPT = ROOT / "var" / "benchmarks" / "revisions"
LENGTH = 7
"""Digits of a revision's name."""

UNCHANGED = ("acquire", "delayed", "waiting")
"""Measures that know the inside of the package: they drive this checkout only."""


def measures(revision: str, known: Sequence[Measure]) -> list[Measure]:
    """Those that drive the public surface, with each system of ours here and at the revision."""
    checkout = _checkout(revision)
    return list(_beside(checkout, known))


def _beside(checkout: Checkout, known: Sequence[Measure]) -> Iterator[Measure]:
    for measure in known:
        ours = [system for system in measure.systems if isinstance(system, Ours)]
        if ours and measure.key not in UNCHANGED:
            both = ((here, dataclasses.replace(here, checkout=checkout)) for here in ours)
            yield dataclasses.replace(measure, systems=tuple(chain.from_iterable(both)))


def _checkout(revision: str) -> Checkout:
    """A clone with an environment of its own; made once. Raises Unavailable."""
    commit = _commit(revision)
    home = KEPT / commit[:LENGTH]
    if not (home / ".made").exists():
        sys.stderr.write(f"Installing revision {home.name} into {home.relative_to(ROOT)}\n")
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        _make(home, commit)
    python = str(home / ".venv" / "bin" / "python")
    return Checkout(home=home, python=python, revision=home.name)


def _commit(revision: str) -> str:
    asked = ["git", "-C", str(ROOT), "rev-parse", "--verify", f"{revision}^{{commit}}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{revision} is no revision of this repository")
    return done.stdout.strip()


def _make(home: Path, commit: str) -> None:
    log = KEPT / f"{home.name}.log"
    git = ("git", "-C", str(home))
    commands = (
        ["git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(home)],
        [*git, "checkout", "--quiet", "--detach", commit],
        [str(home / "scripts" / "setup")],
    )
    try:
        for command in commands:
            processes.run(command, {"PYTHON": sys.executable}, log)
    except ChildFailed as error:
        raise Unavailable(f"revision {home.name} cannot be installed: {error}") from error
    # Its own benchmarks measure other things: it is driven by those of this checkout.
    shutil.rmtree(home / "benchmarks")
    (home / "benchmarks").symlink_to(ROOT / "benchmarks")
    (home / ".made").touch()
