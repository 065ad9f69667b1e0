"""The matrix: the tests on the Pythons, Djangos and servers we keep; `make matrix` runs every row.

A row makes an environment of its own in var/nox and keeps it for the next time. Words after `--`
name the tests to run; without them all run. A row that this machine cannot run says so and is
skipped.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nox

nox.needs_version = ">=2025.5"
nox.options.envdir = "var/nox"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"

SUITE = ["-n", "2", "--dist", "worksteal", "--durations", "25"]
POSTGRES = {"PSQ_TEST_DATABASE": "postgres", "PSQ_TEST_REDIS_SERVER": "redis-server"}


class Row(NamedTuple):
    """One Python, one Django, one pair of servers."""

    python: str
    django: str
    on_postgres: bool = False

    @property
    def name(self) -> str:
        """`py313-django61`, or `py313-django61-postgres`."""
        versions = f"py{self.python}-django{self.django}".replace(".", "")
        return versions + "-postgres" * self.on_postgres


ROWS = [
    Row("3.11", "5.2"),
    Row("3.11", "5.2", on_postgres=True),
    Row("3.12", "6.0"),
    Row("3.13", "6.1"),
    Row("3.13", "6.1", on_postgres=True),
]


def interpreter(version: str) -> str | None:
    """A Python of this version that runs here."""
    here = shutil.which(f"python{version}")
    if here is None:
        return None
    # A shim of pyenv answers for the versions that were chosen; all of them lie beside the shims.
    beside = Path(here).parents[1].glob(f"versions/{version}.*/bin/python{version}")
    return next(filter(_runs, [here, *map(str, beside)]), None)


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def has_servers() -> bool:
    """Whether PostgreSQL and redis-server are installed."""
    versioned = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return bool(shutil.which("redis-server") and (shutil.which("initdb") or any(versioned)))


def lack(row: Row) -> str | None:
    """What keeps this machine from running the row."""
    if interpreter(row.python) is None:
        return f"there is no Python {row.python} here"
    if row.on_postgres and not has_servers():
        return "PostgreSQL or redis-server is not here: scripts/install-system-packages"
    return None


def session_of(row: Row) -> Callable[[nox.Session], None]:
    """The function that nox calls for a row."""

    def run(session: nox.Session) -> None:
        if missing := lack(row):
            session.skip(missing)
        session.install("-r", "requirements.txt", f"django=={row.django}.*")
        chosen = POSTGRES if row.on_postgres else {}
        session.run("python", "-m", "pytest", *SUITE, *session.posargs, env=chosen)

    servers = "PostgreSQL and redis-server" if row.on_postgres else "SQLite and Valkey"
    run.__doc__ = f"The tests on Python {row.python}, Django {row.django}, {servers}."
    return run


_pythons = {version: interpreter(version) for version in {row.python for row in ROWS}}
for _row in ROWS:
    # Without an interpreter there is no environment to make: the row only says that it is skipped.
    nox.session(name=_row.name, python=_pythons[_row.python] or False)(session_of(_row))
