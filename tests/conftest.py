"""The resources of a test run: a server and databases of its own, removed at the end.

Everything is put into the environment before Django reads its settings, so that the processes
that tests start see the same. That is why DJANGO_SETTINGS_MODULE is set here, not in a file.
"""

import importlib
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType

import django
import pytest
from django.conf import settings
from redis import Redis

from plugspace_queue import embedded_redis
from tests import patience, postgres, watchdog

RESOURCES = ExitStack()
NO_POSTGRES = (
    "PostgreSQL is not here: install it (scripts/install-system-packages) or set PSQ_TEST_POSTGRES."
)


def _prepare() -> None:
    home = Path(tempfile.mkdtemp(prefix="psq-test-"))
    # PostgreSQL runs as another user, who may enter the folder and not list it.
    home.chmod(0o711)
    # The folders that tests and their child processes make lie below it as well.
    os.environ["TMPDIR"] = tempfile.tempdir = str(home)
    # The watchdog removes the folder when this process has ended.
    watchdog.start(home)
    for name in ("REDIS_URL", "SENTINELS", "DEBUG", "SECRET_KEY", "ALLOWED_HOSTS"):
        os.environ.pop(name, None)
    os.environ["PLUGSPACE_EMBEDDED_DIR"] = str(home / "redis")
    os.environ.setdefault("PSQ_EMBEDDED_ARGS", "--appendonly no")
    if server := os.environ.get("PSQ_TEST_REDIS_SERVER"):
        os.environ["PSQ_EMBEDDED_SERVER"] = server
    if os.environ.get("PSQ_TEST_DATABASE") != "postgres":
        os.environ["DATABASE_URL"] = f"sqlite:///{home / 'db.sqlite3'}"
    elif url := _start_postgres():
        os.environ["DATABASE_URL"] = url
    else:
        pytest.exit(NO_POSTGRES, returncode=1)
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    RESOURCES.callback(embedded_redis.stop)


def _start_postgres() -> str | None:
    named = os.environ.get("PSQ_TEST_POSTGRES") or _postgres_of_environment()
    if named or not postgres.binaries():
        return named
    return RESOURCES.enter_context(postgres.cluster())


def _postgres_of_environment() -> str | None:
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith("postgres") else None


def pytest_configure(config: pytest.Config) -> None:
    """Load the settings for pytest-django, and clean up however the run ends."""
    config.add_cleanup(RESOURCES.close)
    signal.signal(signal.SIGTERM, partial(_end_run, os.getpid()))
    assert settings.DATABASES


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Each worker of `pytest -n` makes resources of its own before it reads the settings."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def pytest_unconfigure() -> None:
    """Hand what was measured to `make prove`."""
    if path := os.environ.get("PSQ_FIGURES"):
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in patience.figures)


def _end_run(owner: int, signum: int, frame: FrameType | None) -> None:
    # A terminated run cleans up; a child that was forked from it exits at once.
    if os.getpid() == owner:
        pytest.exit("terminated", returncode=128 + signum)
    os._exit(128 + signum)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Scale the limit of every test; say why a test marked `postgres` is left out."""
    default = float(config.getini("timeout"))
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit = marker.args[0] if marker else default
        item.add_marker(pytest.mark.timeout(patience.patient(limit)), append=False)
        if item.get_closest_marker("postgres") and (reason := _why_not_postgres(item)):
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not_postgres(item: pytest.Item) -> str | None:
    if settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        return None
    if "postgres_url" not in getattr(item, "fixturenames", ()):
        return "this run is on SQLite: `make test-postgres` runs it"
    has_one = os.environ.get("PSQ_TEST_POSTGRES") or postgres.binaries()
    return None if has_one else NO_POSTGRES


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The URL of a PostgreSQL server whose databases tests may make and drop."""
    if os.environ["DATABASE_URL"].startswith("postgres"):
        return os.environ["DATABASE_URL"]
    url = _start_postgres()
    assert url, NO_POSTGRES
    return url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A client of the server that this run owns: in a folder that this run has made."""
    embedded_redis.ensure_running()
    with Redis(unix_socket_path=embedded_redis.socket_path()) as client:
        yield client


@pytest.fixture(autouse=True)
def redis(redis_server: Redis) -> Iterator[Redis]:
    """The queue's database; emptied, with all others of the server, after every test."""
    embedded_redis.ensure_running()
    yield redis_server
    if embedded_redis.is_running():
        redis_server.flushall()


_prepare()
# The conftests of the packages import models when they are read.
django.setup()
# It imports models too.
importlib.import_module("tests.economy").install()
# As a worker does when it starts.
importlib.import_module("plugspace_queue.processing.registry").load_processors()
