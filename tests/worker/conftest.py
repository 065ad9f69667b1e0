"""A crew in this process: the worker's threads without the process around them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plugspace_queue.models import Organization
from plugspace_queue.processing import registry
from plugspace_queue.types import TaskType
from plugspace_queue.worker.crew import Crew
from plugspace_queue.worker.pump import Limits

Work = Callable[..., int]


@pytest.fixture
def acme(transactional_db: None) -> Organization:
    """An organization without quotas in its way."""
    return Organization.objects.create(id="acme", tier_id="enterprise")


@pytest.fixture
def processors() -> Iterator[Callable[..., Any]]:
    """Register processors for one test: `processors("CODE", fn, output=dict)`."""
    before = {kind: registry.processor_of(kind) for kind in TaskType}

    def register(task_type: str, function: Callable[..., Any], **options: Any) -> None:
        registry.register(
            task_type, function, replace=True, **({"output": Any} | options)
        )

    yield register
    for kind, entry in before.items():
        registry.unregister(kind)
        if entry is not None:
            registry._processors[kind] = entry


def make_crew(*names: str, **limits: Any) -> Crew:
    """A crew for these queues; ends by itself as `limits` say."""
    return Crew(
        "w1",
        names or ("architect",),
        limits=Limits(**limits),
        heartbeat=lambda: None,
        is_suspended=lambda: False,
    )


@pytest.fixture
def work(transactional_db: None) -> Work:
    """Run a crew to the end of its burst; how many attempts it settled."""

    def run(*names: str, **limits: Any) -> int:
        return make_crew(*names, **({"burst": True} | limits)).work()

    return run
