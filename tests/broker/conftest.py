"""The line of the tests: the queue `code` on the server that this run owns."""

import pytest
from redis import Redis

from tests.broker.tools import Line


@pytest.fixture
def line(redis: Redis) -> Line:
    line = Line(redis)
    line.configure()
    return line
