"""An open stream that meets an error nobody expected: it is logged once and ends cleanly."""

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
from django.db import connections
from redis import Redis

from plugspace_queue.api import caps, grants
from plugspace_queue.broker import keys
from plugspace_queue.events import fanout
from plugspace_queue.models import ApiKey
from tests.api.asgi import Request
from tests.factories import make_organization
from tests.support import patient

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/v1/organizations/acme/events/?since=0-0"


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Any:
    yield
    connections.close_all()


@pytest.fixture
def key(redis: Redis) -> str:
    redis.xadd(keys.events(), {"event": json.dumps({"organizationId": "acme", "name": "x"})})
    return ApiKey.issue(make_organization("acme"), ["read"])[1]


def listen(key: str) -> Request:
    """A client of acme's events from the first one on, when its answer is over."""

    async def main() -> Request:
        request = Request(ADDRESS, key)
        async with asyncio.timeout(patient(30)):
            await request.task
        return request

    return asyncio.run(main())


def told_end(request: Request) -> Any:
    """The data of the last event."""
    name, data = request.body.decode().rstrip("\n").splitlines()[-2:]
    assert name == "event: end"
    return json.loads(data.removeprefix("data: "))


# Django takes a TypeError for a body that cannot be iterated in a loop, and iterates it anew.
@pytest.mark.parametrize("kind", [TypeError, RuntimeError, KeyError])
def test_an_unexpected_error_is_logged_once_and_ends_the_stream_with_an_event(
    key: str,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
):
    def broken(*_: Any) -> Any:
        raise kind("a secret of ours")

    monkeypatch.setattr(fanout, "kept", broken)

    request = listen(key)

    end = told_end(request)
    assert (request.status, end["reason"]) == (200, "error")
    assert b"secret" not in request.body
    [record] = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.name == "plugspace_queue.api"
    assert end["stream"] in record.getMessage()
    assert "organizationId acme" in record.getMessage()
    assert record.exc_info is not None and record.exc_info[0] is kind
    assert not [w for w in recwarn if "StreamingHttpResponse" in str(w.message)]
    assert caps.opened() == 0


def test_a_stream_that_cannot_be_looked_after_ends_and_leaves_nothing_behind(
    key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def no_thread(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(grants, "watch", no_thread)

    request = listen(key)

    assert (request.status, told_end(request)["reason"]) == (200, "error")
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
    assert caps.opened() == 0
    readers = [t for t in threading.enumerate() if t.name == "plugspace-feeds"]
    for reader in readers:
        reader.join(patient(5))
        assert not reader.is_alive(), "the reader goes on without listeners"
