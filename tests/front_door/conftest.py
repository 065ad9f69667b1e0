"""Ground of the front door's tests: rows are read afresh in each."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plugspace_queue import policies
from plugspace_queue.door import stats


@pytest.fixture(autouse=True)
def fresh_reads() -> Iterator[None]:
    policies.forget()
    stats.forget()
    yield
    policies.forget()
    stats.forget()


@pytest.fixture
def redis_away(settings: Any) -> Any:
    """Call it, and Redis does not answer any more; call what it returns, and it does again."""
    here = settings.RQ_QUEUES

    def come_back() -> None:
        settings.RQ_QUEUES = here

    def go_away() -> Callable[[], None]:
        settings.RQ_QUEUES = {
            name: config | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
            for name, config in here.items()
        }
        return come_back

    return go_away
