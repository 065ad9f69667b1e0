"""A PostgreSQL cluster of the tests' own: temporary, on a Unix socket, without fsync."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALLED = "/usr/lib/postgresql/*/bin"


def binaries() -> Path | None:
    """The folder of the newest initdb here: Debian's versioned ones first, then PATH."""
    versioned = sorted(
        Path("/").glob(INSTALLED[1:]), key=lambda path: float(path.parent.name), reverse=True
    )
    on_path = shutil.which("initdb")
    found = [*versioned, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((path for path in found if (path / "initdb").exists()), None)


@contextmanager
def cluster() -> Iterator[str]:
    """Run a cluster and yield the URL of its database `postgres`; gone afterwards."""
    folder = binaries()
    if folder is None:
        raise FileNotFoundError("no initdb")
    home = Path(tempfile.mkdtemp(prefix="psq-pg-"))
    try:
        give_away(home)
        data = home / "data"
        run(folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-k {home} -c listen_addresses= -c fsync=off -c max_connections=200"
        control = (folder / "pg_ctl", "-D", data, "-w")
        run(*control, "-l", home / "log", "-o", options, "start")
        try:
            yield f"postgres://postgres@/postgres?host={home}"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def give_away(home: Path) -> None:
    if os.getuid() == 0:
        shutil.chown(home, _user(), _user_group())


def _user() -> str:
    # PostgreSQL refuses to run as root.
    return "postgres" if _knows("postgres") else "nobody"


def _user_group() -> str:
    return "postgres" if _knows("postgres") else "nogroup"


def _knows(user: str) -> bool:
    return subprocess.run(["id", user], capture_output=True, check=False).returncode == 0


def run(*command: str | Path) -> None:
    demoted = {"user": _user(), "group": _user_group(), "extra_groups": []}
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        check=False,
        **(demoted if os.getuid() == 0 else {}),
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}")
