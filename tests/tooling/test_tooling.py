"""The commands a newcomer types first, and the files that must agree with each other."""

import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from noxfile import ROWS, interpreter

ROOT = Path(__file__).parents[2]
TARGETS = [
    "help",
    "setup",
    "demo",
    "test",
    "test-slow",
    "test-one-row",
    "test-postgres",
    "test-browser",
    "hostproject",
    "matrix",
    "chaos",
    "check",
    "format",
    "lint",
    "types",
    "contracts",
    "migrations",
    "prove",
    "bench",
    "bench-pages",
    "docs",
    "messages",
    "site",
    "snapshot",
    "screenshots",
    "clean",
]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [("make",), ("make", "help")])
def test_make_help_lists_every_target_with_a_sentence(command: tuple[str, ...]):
    told = run(*command).stdout.splitlines()

    assert [line.split()[1] for line in told] == TARGETS
    assert all(len(line.split()) > 4 for line in told)


def test_setup_refuses_an_interpreter_that_is_too_old(tmp_path: Path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    done = run("scripts/setup", PYTHON=str(old))

    assert done.returncode == 1
    assert done.stderr == f"PYTHON={old} is not a Python of version 3.11 or newer.\n"


def test_requirements_are_those_of_the_package_its_extras_and_the_tools():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = told["project"]["optional-dependencies"]
    # It names the other extras.
    del extras["all"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()

    asked = {line for line in lines if line and not line.startswith("#")}

    several = [
        told["project"]["dependencies"],
        *extras.values(),
        *told["dependency-groups"].values(),
    ]
    assert asked == set(chain.from_iterable(several))


def test_the_matrix_has_a_row_for_every_python_and_django_that_the_package_names():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]

    def versions(program: str) -> set[str]:
        texts = [text for text in named if text.startswith(f"{program} :: ")]
        return {text.rpartition(" ")[2] for text in texts}

    assert versions("Programming Language :: Python") == {row.python for row in ROWS}
    assert versions("Framework :: Django") == {row.django for row in ROWS}


def test_a_row_has_no_interpreter_where_its_python_does_not_run(tmp_path: Path, monkeypatch):
    shim = tmp_path / "shims" / "python3.99"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))

    assert interpreter("3.98") is None
    assert interpreter("3.99") is None


def test_behind_a_shim_of_pyenv_its_versions_are_found(tmp_path: Path, monkeypatch):
    program = tmp_path / "versions" / "3.99.1" / "bin" / "python3.99"
    for path, code in ((tmp_path / "shims" / "python3.99", 127), (program, 0)):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\nexit {code}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))

    assert interpreter("3.99") == str(program)
