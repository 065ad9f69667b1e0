"""The cache of the demo project behind Sentinels."""

import pytest
from django.core.cache import caches
from redis.exceptions import RedisError

from project import caching
from tests.support import wait_until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def cache(sentinel_trio, settings):
    settings.CACHES = caching.caches(url=None, sentinels=sentinel_trio.setting)
    return caches["default"]


@pytest.mark.slow
def test_the_cache_works_through_a_failover_and_empties_only_itself(sentinel_trio, cache):
    queue = sentinel_trio.primary().client
    queue.set("of the queue", "kept")
    # Read back at once, each time: no replica is asked, which may not have it yet.
    for number in range(50):
        cache.set("number", number, 60)
        assert cache.get("number") == number
    assert queue.wait(1, 2000) >= 1

    sentinel_trio.primary().kill()

    assert wait_until(lambda: quietly(cache.get, "number"), 10) == 49
    cache.set("later", "too")
    assert cache.get("later") == "too"
    cache.clear()
    assert cache.get("number") is None
    assert sentinel_trio.primary().client.get("of the queue") == "kept"


def quietly(function, *arguments):
    try:
        return function(*arguments)
    except RedisError:
        return None
