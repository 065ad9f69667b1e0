"""Where peers are installed: an environment each under var/, made when a run first asks for it."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from benchmarks import processes
from benchmarks.processes import ROOT, ChildFailed

KEPT = ROOT / "var" / "benchmarks" / "peers"


class Unavailable(Exception):
    """A system cannot run here; the message says why."""


class Environment(Protocol):
    """An interpreter with packages of its own."""

    def make(self) -> None:
        """Install what is missing; Unavailable when that does not work."""

    def version(self, package: str) -> str:
        """The version of a package that is installed in it."""

    def __hash__(self) -> int:
        """Equal ones are made once."""


@dataclass(frozen=True)
class PythonEnvironment:
    """A virtual environment of this interpreter's version."""

    name: str
    requirements: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return KEPT / self.name / "bin" / "python"

    def make(self) -> None:
        """Made anew when requirements or interpreter changed."""
        install = [str(self.python), "-m", "pip", "install", "--no-input", *self.requirements]
        venv = processes.python("-m", "venv", str(KEPT / self.name))
        _make(KEPT / self.name, (sys.version, *self.requirements), (venv, install))

    def version(self, package: str) -> str:
        """As its own interpreter sees it."""
        return _said(
            str(self.python),
            "-c",
            f"from importlib.metadata import version; print(version('{package}'))",
        )


@dataclass(frozen=True)
class NodeEnvironment:
    """A folder of node_modules; for the `node` and `npm` of PATH."""

    name: str
    requirements: tuple[str, ...]

    @property
    def modules(self) -> Path:
        """What NODE_PATH must name."""
        return KEPT / self.name / "node_modules"

    def make(self) -> None:
        """Made anew when requirements changed; Unavailable without Node."""
        if missing := [program for program in ("node", "npm") if not shutil.which(program)]:
            raise Unavailable(f"{missing[0]} is not here")
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(KEPT / self.name))
        _make(
            KEPT / self.name, self.requirements, (["npm", "install", *options, *self.requirements],)
        )

    def version(self, package: str) -> str:
        """As its package.json says."""
        path = self.modules / package / "package.json"
        return _said("node", "-p", f"require('{path}').version")


def _make(home: Path, wanted: Sequence[str], commands: Sequence[Sequence[str]]) -> None:
    """Run the commands in an emptied folder, unless that was done for these very wishes."""
    mark, text = home / ".ready", "\n".join(wanted)
    if mark.exists() and mark.read_text() == text:
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    sys.stderr.write(f"Installing {home.name} into {home.relative_to(ROOT)}\n")
    log = home / "install.log"
    for command in commands:
        try:
            processes.run(command, {}, log)
        except ChildFailed as error:
            raise Unavailable(_reason(log)) from error
    mark.write_text(text)


def _reason(log: Path) -> str:
    """The first line of a log that speaks of an error, else its last one."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["no word"]
    told = next((line for line in lines if "error" in line.lower()), lines[-1])
    return f"it cannot be installed: {told.strip()[:200]}"


@cache
def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
