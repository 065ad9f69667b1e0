"""Many streams in one event loop: how often it turns, what is made once, what is asked once."""

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.backends.signals import connection_created
from django.test import Client
from django.utils import timezone
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.api import stream_limits
from plugspace_queue.api.sse import end_frame
from plugspace_queue.broker import keys
from plugspace_queue.models import ApiKey, Membership, Task
from tests.api.asgi import Request, until
from tests.factories import arguments, make_organization
from tests.support import patient

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS, EVENTS = 60, 300


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Any:
    yield
    connections.close_all()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), patient(50)))


def key_of(organization_id: str = "acme") -> str:
    return ApiKey.issue(make_organization(organization_id), ["read"])[1]


async def opened(key: str, count: int = 1, **more: Any) -> list[Request]:
    """Streams of acme's events whose first words have come."""
    path = "/api/v1/organizations/acme/events/"
    streams = [Request(path, key, **more) for _ in range(count)]
    await until(lambda: all(s.body for s in streams), *streams)
    return streams


async def leave(streams: list[Request]) -> None:
    for stream in streams:
        stream.hang_up()
    await asyncio.gather(*(stream.task for stream in streams))


def bulk() -> None:
    queue_manager.add_tasks([arguments() for _ in range(EVENTS)], limit_requests=False)
    connections.close_all()


def one_task() -> Task:
    task = queue_manager.add_task(**arguments())
    connections.close_all()
    return task


@pytest.mark.slow
def test_the_events_of_a_bulk_are_rendered_once_and_sent_to_few_streams_at_a_time():
    key = key_of()
    reached: Counter[int] = Counter()
    turn = 0

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def main() -> list[Request]:
        streams = await opened(key, CLIENTS)
        for stream in streams:
            stream.parts.clear()
            stream.heard = lambda stream, part: reached.update([turn])
        counting = asyncio.create_task(count_turns())
        await asyncio.to_thread(bulk)
        await until(lambda: all(s.body.count(b"event: task") == EVENTS for s in streams), *streams)
        counting.cancel()
        await leave(streams)
        return streams

    streams = run(main)

    # Between two turns of the loop all other requests wait.
    assert max(reached.values()) < CLIENTS / 2
    assert len({stream.body for stream in streams}) == 1
    # Each part is one event or more, made for the first and the same object for all others.
    assert max(len(stream.parts) for stream in streams) < EVENTS / 2
    assert len({id(part) for stream in streams for part in stream.parts}) < EVENTS / 2


def test_a_client_that_reads_all_the_time_is_not_slow_however_large_events_are(redis: Redis):
    key = key_of()
    body = {"name": "taskCompleted", "organizationId": "acme", "result": "x" * 30_000}

    def tell_all() -> None:
        with redis.pipeline() as pipe:
            for number in range(150):
                pipe.xadd(keys.events(), {"event": json.dumps(body | {"n": number})})
            pipe.execute()

    async def main() -> list[int]:
        (stream,) = streams = await opened(key)
        await asyncio.to_thread(tell_all)
        await until(lambda: b'"n": 149' in stream.parts[-1] or b"event: end" in stream.body)
        await leave(streams)
        return [int(n) for n in re.findall(rb'"n": (\d+)', stream.body)]

    assert run(main) == list(range(150))


@pytest.mark.slow
def test_open_streams_are_checked_with_one_query_for_each_kind_of_credential(
    client_of: Callable[..., Any],
):
    secrets = [key_of() for _ in range(10)]
    sessions = [client_of(f"user-{number}") for number in range(10)]
    asked: list[list[str]] = []

    def note(connection: Any, **kwargs: Any) -> None:
        if threading.current_thread().name.startswith("plugspace-grants"):
            # A new connection for each look; the wrapper stays with the object.
            asked.append([])
            connection.execute_wrappers[:] = [
                lambda execute, sql, *rest: asked[-1].append(sql) or execute(sql, *rest)
            ]

    async def main() -> int:
        streams = [s for key in secrets for s in await opened(key, 2)]
        for cookie in sessions:
            streams += await opened("", cookie=cookie)
        async with asyncio.timeout(patient(30)):
            # The first look that begins now is over when the second one begins.
            before = len(asked)
            while len(asked) < before + 2:
                await asyncio.sleep(0.01)
        await leave(streams)
        return before

    connection_created.connect(note)
    try:
        number = run(main)
    finally:
        connection_created.disconnect(note)

    assert len(asked[number]) == 2, asked[number]


@pytest.mark.slow
def test_the_streams_of_a_revoked_key_end_few_at_a_time_and_free_their_places():
    key = key_of()
    ended: Counter[int] = Counter()
    turn = 0

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def revoke() -> None:
        ApiKey.objects.update(revoked_at=timezone.now())
        connections.close_all()

    async def main() -> list[Request]:
        streams = await opened(key, CLIENTS)
        for stream in streams:
            stream.heard = lambda stream, part: ended.update([turn])
        counting = asyncio.create_task(count_turns())
        await asyncio.to_thread(revoke)
        async with asyncio.timeout(patient(30)):
            await asyncio.gather(*(stream.task for stream in streams))
        counting.cancel()
        return streams

    streams = run(main)

    assert all(stream.body.endswith(end_frame("forbidden")) for stream in streams)
    assert max(ended.values()) < CLIENTS / 2
    assert stream_limits.open_streams() == 0


@pytest.fixture
def client_of(db: None) -> Callable[[str], str]:
    """The session of a new member of acme."""

    def make(name: str) -> str:
        user = get_user_model().objects.create_user(name)
        Membership.objects.create(organization=make_organization("acme"), user=user)
        client = Client()
        client.force_login(user)
        return str(client.cookies["sessionid"].value)

    return make


@pytest.mark.slow
def test_clients_that_disconnect_before_their_stream_opens_occupy_no_place(settings: Any):
    settings.PLUGSPACE_QUEUE = {"MAX_STREAMS": 4, "STREAMS_RESERVED": 0.0}
    key = key_of()

    async def main() -> list[int]:
        for turns in range(0, 120, 4):
            (stream,) = come(1)
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            await leave([stream])
        statuses: list[int] = []
        # What was under way in a thread ends there.
        async with asyncio.timeout(patient(30)):
            while statuses != [200] * 4:
                streams = come(4)
                await until(lambda: all(s.parts for s in streams), *streams)  # noqa: B023
                statuses = [stream.status for stream in streams]
                await leave(streams)
        return statuses

    def come(count: int) -> list[Request]:
        return [Request("/api/v1/organizations/acme/events/", key) for _ in range(count)]

    assert run(main) == [200] * 4


DAMAGED = {
    "no JSON": b"\xff",
    "too deep": b"[" * 100_000,
    "a list for an id": b'{"jobId": [1], "organizationId": "acme"}',
    "an object for an organization": b'{"organizationId": {"a": 1}}',
    "a list for a state": b'{"organizationId": "acme", "name": "x", "state": [1]}',
    "a text for an error": b'{"organizationId": "acme", "name": "x", "error": "y"}',
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_an_entry_that_is_no_event_does_not_block_the_events_after_it(redis: Redis, text: bytes):
    key = key_of()

    async def main() -> None:
        [stream] = await opened(key)
        await asyncio.to_thread(redis.xadd, keys.events(), {b"event": text})
        task = await asyncio.to_thread(one_task)
        await until(lambda: str(task.pk).encode() in stream.body, stream)
        await leave([stream])

    run(main)
