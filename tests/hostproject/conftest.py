"""The shop: made and used before it had the package, then changed as the pages say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.hostproject.host import Shop, made

# Modules of a project of its own: read for doctests, they would look for its settings.
collect_ignore = ["site"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, postgres_or_sqlite: str) -> Iterator[Shop]:
    """The project with the package installed from its wheel into a fresh environment."""
    with made(tmp_path_factory.mktemp("shop"), postgres_or_sqlite) as found:
        yield found


@pytest.fixture(scope="module")
def postgres_or_sqlite(request: pytest.FixtureRequest) -> str:
    """The URL of a PostgreSQL server, else ""."""
    return str(request.getfixturevalue("postgres_url")) if postgres.binaries() else ""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file whose absence keeps a SCAN running."""
    return tmp_path / "gate"
