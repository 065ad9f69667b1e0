"""Ground of the workflow's tests: rows are read afresh in each."""

from collections.abc import Iterator

import pytest

from plugspace_queue.limits import policies
from plugspace_queue.testing import declarations


@pytest.fixture
def declaring() -> Iterator[None]:
    """Kinds may be declared, until the test ends."""
    with declarations():
        yield


@pytest.fixture(autouse=True)
def fresh_policies() -> Iterator[None]:
    policies.clear_cache()
    yield
    policies.clear_cache()
