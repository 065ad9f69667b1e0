"""Ground of the host's tools: policies are read afresh, processors are fakes."""

from collections.abc import Iterator

import pytest

from plugspace_queue.limits import policies
from plugspace_queue.testing import processors
from tests.services.conftest import redis_away
from tests.testing.host import FAKES

__all__ = ["redis_away"]


@pytest.fixture(autouse=True)
def fresh_policies() -> Iterator[None]:
    policies.clear_cache()
    yield
    policies.clear_cache()


@pytest.fixture
def fakes() -> Iterator[None]:
    """Processors of all types that return what they were called with."""
    with processors(FAKES):
        yield
