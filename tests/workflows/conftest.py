"""Ground of the workflow's tests: rows are read afresh in each."""

from collections.abc import Iterator

import pytest

from plugspace_queue.limits import policies


@pytest.fixture(autouse=True)
def fresh_policies() -> Iterator[None]:
    policies.clear_cache()
    yield
    policies.clear_cache()
