"""Ground of the workflow's tests: rows are read afresh in each; types and kinds of a test's own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plugspace_queue import TaskType
from plugspace_queue.conf import fill_queues
from plugspace_queue.domain import catalog
from plugspace_queue.limits import policies
from plugspace_queue.services import queue_stats
from plugspace_queue.testing import declarations

Declare = Callable[..., TaskType]


@pytest.fixture
def declaring() -> Iterator[None]:
    """Kinds may be declared, until the test ends."""
    with declarations():
        yield


@pytest.fixture
def declare(declaring: None, settings: Any) -> Iterator[Declare]:
    """Call it like task_type; the type and its queue are gone after the test."""
    settings.RQ_QUEUES = dict(settings.RQ_QUEUES)

    def declared(name: str, **options: Any) -> TaskType:
        kind = catalog.task_type(name, **options)
        fill_queues([kind.queue_name])
        return kind

    yield declared
    policies.clear_cache()
    queue_stats.clear_cache()


@pytest.fixture(autouse=True)
def fresh_policies() -> Iterator[None]:
    policies.clear_cache()
    yield
    policies.clear_cache()
