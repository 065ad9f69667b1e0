"""Types that are declared for one test, with a queue each."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plugspace_queue import TaskType, task_type
from plugspace_queue.conf import fill_queues
from plugspace_queue.domain.catalog import open_for_declarations
from plugspace_queue.limits import policies
from plugspace_queue.services import queue_stats

Declare = Callable[..., TaskType]


@pytest.fixture
def declare(settings: Any) -> Iterator[Declare]:
    """Call it like task_type; the type and its queue are gone after the test."""
    settings.RQ_QUEUES = dict(settings.RQ_QUEUES)

    def declared(name: str, **options: Any) -> TaskType:
        kind = task_type(name, **options)
        fill_queues([kind.queue_name])
        return kind

    with open_for_declarations():
        yield declared
    policies.clear_cache()
    queue_stats.clear_cache()
