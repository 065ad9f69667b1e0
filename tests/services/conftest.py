"""For tests of services: each reads rows anew."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis

from plugspace_queue import embedded_redis
from plugspace_queue.limits import policies
from plugspace_queue.maintenance.queue_config import repair
from plugspace_queue.services import queue_stats
from tests.factories import make_organization


@pytest.fixture(autouse=True)
def fresh_reads() -> Iterator[None]:
    policies.clear_cache()
    queue_stats.clear_cache()
    yield
    policies.clear_cache()
    queue_stats.clear_cache()


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


@pytest.fixture
def others(settings: Any, transactional_db: None) -> Iterator[Redis]:
    """A server of all queues but ARCHITECT's; the test's `redis` is ARCHITECT's."""
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.2}
    # Another database of the same server: to all who ask it is another server.
    settings.RQ_QUEUES = {
        name: config if name == "architect" else config | {"DB": 5}
        for name, config in settings.RQ_QUEUES.items()
    }
    make_organization()
    repair(timezone.now())
    with Redis(unix_socket_path=embedded_redis.socket_path(), db=5) as server:
        yield server
