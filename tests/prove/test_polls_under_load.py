"""Openings of one organization while another polls a full stream of events, 60 clients at once."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.models import ApiKey
from tests.factories import make_organization
from tests.processes.web import Stream, Web, limits, serving
from tests.prove.test_streams_under_load import asked
from tests.support import took, wait_until

pytestmark = [
    pytest.mark.prove,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
]

CLIENTS, EVENTS, OPENINGS = 60, 10_000, 10
OPENED = 1.0
"""Seconds within which a stream of an organization opens, whatever another one polls."""


class Poller(threading.Thread):
    """Polls from the start of the stream again and again, and heeds no refusal."""

    def __init__(self, web: Web, key: str, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self.statuses: Counter[int] = Counter()
        self._web, self._key, self._done = web, key, done

    def run(self) -> None:
        while not self._done.is_set():
            path = "/api/v1/organizations/acme/events/?since=0&limit=1000"
            self.statuses[asked(self._web, "GET", path, key=self._key)[0]] += 1


@contextmanager
def polled(web: Web, key: str) -> Iterator[Counter[int]]:
    """60 pollers that have all been answered once; what all of them were answered."""
    done, statuses = threading.Event(), Counter[int]()
    pollers = [Poller(web, key, done) for _ in range(CLIENTS)]
    for poller in pollers:
        poller.start()
    try:
        wait_until(lambda: all(p.statuses for p in pollers), 60, "no answer to a poll")
        yield statuses
    finally:
        done.set()
        for poller in pollers:
            poller.join()
            statuses.update(poller.statuses)


def test_a_stream_opens_within_a_second_while_60_clients_of_another_organization_poll(
    transactional_db: None, redis: Redis, tmp_path: Path
):
    greedy = ApiKey.issue(make_organization("acme"), ["read"])[1]
    rival = ApiKey.issue(make_organization("rival"), ["read"])[1]
    with redis.pipeline() as pipe:
        for number in range(EVENTS):
            pipe.xadd(keys.events(), {"event": f'{{"organizationId": "o{number % 100}"}}'})
        pipe.execute()
    slowest = 0.0
    with serving(tmp_path / "web.log", **limits()) as web, polled(web, greedy) as statuses:
        for _ in range(OPENINGS):
            stream = Stream(web, "organizations/rival/events/", key=rival)
            begun = time.monotonic()
            assert stream.open().status == 200
            assert stream.line() == "retry: 2000"
            slowest = max(slowest, time.monotonic() - begun)
            stream.close()

    print(dict(statuses))
    took(slowest, OPENED, "a stream opens while 60 clients of another organization poll")
    assert set(statuses) == {200, 429}
