"""Ground of the reconciler's tests: leases are short, for a second look comes one lease later."""

from collections.abc import Iterator
from typing import Any

import pytest

from plugspace_queue.limits import policies
from tests.maintenance.scene import Scene
from tests.worker.conftest import acme, crew, processors  # noqa: F401


@pytest.fixture
def scene(redis: Any, settings: Any, transactional_db: None) -> Iterator[Scene]:
    """Waiting, delayed, running and blocked tasks of two organizations, all in order."""
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    policies.clear_cache()
    yield Scene(redis)
    policies.clear_cache()
