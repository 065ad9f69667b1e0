"""One reader serves many streams: each event once, slow clients dropped, no thread left behind."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import conf
from plugspace_queue.api import sse
from plugspace_queue.api.sse import Subscription, frames
from plugspace_queue.broker import keys
from plugspace_queue.errors import Unavailable
from plugspace_queue.events import fanout
from plugspace_queue.events.frames import Topic
from tests.support import wait_until, wake_readers

TOPIC = Topic("jobId", "t1")
AWAY, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")


@pytest.fixture(autouse=True)
def no_reader_is_left(redis):
    yield
    wake_readers(redis)
    wait_until(lambda: not _readers(), 5, "a reader runs without streams")


def _readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "plugspace-feeds"]


def tell(redis: Redis, number: int, task: str = "t1", **more: Any) -> str:
    body = {"name": "taskProgress", "jobId": task, "state": "processing", "n": number, **more}
    return redis.xadd(keys.events(), {"event": json.dumps(body)}).decode()


def feed(start: str = "0-0", **more: Any) -> Subscription:
    return Subscription(topic=TOPIC, start=start, now=fanout.last_cursor(), is_staff=False, **more)


async def numbers(parts: AsyncIterator[bytes], count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        part = await anext(parts)
        assert b"event: end" not in part, part
        lines = part.splitlines()
        found += [json.loads(line[6:])["n"] for line in lines if line.startswith(b"data: ")]
    return found


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(limited())


def test_stored_and_live_events_overlap_and_each_is_sent_once_in_order(redis: Redis):
    count = 600
    for number in range(count // 2):
        tell(redis, number)
        tell(redis, -1, "other")

    def go_on() -> None:
        for number in range(count // 2, count):
            tell(redis, number)

    async def main() -> list[list[int]]:
        streams_ = [frames(feed()) for _ in range(5)]
        producer = asyncio.create_task(asyncio.to_thread(go_on))
        found = await asyncio.gather(*(numbers(parts, count) for parts in streams_))
        await producer
        for parts in streams_:
            await parts.aclose()
        return list(found)

    assert run(main) == [list(range(count))] * 5


def test_all_listeners_of_a_process_share_one_reader(redis: Redis):
    async def main() -> int:
        listeners = [frames(feed()) for _ in range(20)]
        for parts in listeners:
            await anext(parts)
        readers = len(_readers())
        tell(redis, 7)
        assert [await numbers(parts, 1) for parts in listeners] == [[7]] * 20
        for parts in listeners:
            await parts.aclose()
        return readers

    assert run(main) == 1


def test_a_slow_client_is_dropped_with_the_reason_and_can_resume(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fanout, "BUFFER_EVENTS", 10)

    async def main() -> tuple[bytes, list[int]]:
        slow = frames(feed())
        await anext(slow)
        first = tell(redis, 0)
        assert await numbers(slow, 1) == [0]
        for number in range(1, 30):
            await asyncio.to_thread(tell, redis, number)
        await _until(lambda: any(buffer.closed_because for buffer in _buffers()))
        last = [part async for part in slow][-1]
        again = frames(feed(start=first))
        rest = await numbers(again, 29)
        await again.aclose()
        return last, rest

    last, rest = run(main)
    assert last == sse.end_frame("slow")
    assert rest == list(range(1, 30))


def test_a_buffer_is_limited_in_bytes_but_holds_one_large_event(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fanout, "BUFFER_BYTES", 1000)

    async def main() -> bytes:
        parts = frames(feed())
        await anext(parts)
        tell(redis, 1, text="x" * 5000)
        assert await numbers(parts, 1) == [1]
        for number in (2, 3):
            tell(redis, number, text="x" * 5000)
        await _until(lambda: any(buffer.closed_because for buffer in _buffers()))
        return [part async for part in parts][-1]

    assert run(main) == sse.end_frame("slow")


def test_the_request_of_a_dropped_client_that_does_not_read_is_cancelled(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fanout, "BUFFER_EVENTS", 1)
    monkeypatch.setitem(fanout.GRACE, fanout.SLOW, 0.05)

    async def stuck() -> None:
        async for _ in frames(feed()):
            await asyncio.Event().wait()

    async def main() -> bool:
        request = asyncio.create_task(stuck())
        await _until(_buffers)
        for number in range(3):
            tell(redis, number)
        await asyncio.wait([request])
        return request.cancelled()

    assert run(main)


def test_a_stream_without_events_sends_heartbeats_and_ends_after_its_lifetime(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sse, "HEARTBEAT", 0.05)
    monkeypatch.setattr(sse, "LIFETIME", 0.4)

    async def main() -> list[bytes]:
        return [part async for part in frames(feed())]

    first, *beats, last = run(main)
    assert (first, last) == (sse.RETRY_FRAME, sse.end_frame("lifetime"))
    assert set(beats) == {sse.HEARTBEAT_FRAME}
    assert len(beats) >= 3


def test_streams_survive_a_lost_connection_to_redis(redis: Redis):
    async def main() -> list[int]:
        parts = frames(feed())
        await anext(parts)
        tell(redis, 1)
        seen = await numbers(parts, 1)
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.to_thread(tell, redis, 2)
        seen += await numbers(parts, 1)
        await parts.aclose()
        return seen

    assert run(main) == [1, 2]


@pytest.mark.slow
def test_a_stream_stays_open_while_redis_is_unavailable_and_continues_afterwards(
    redis: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sse, "HEARTBEAT", 0.05)
    at_home = settings.RQ_QUEUES

    async def main() -> list[int]:
        parts = frames(feed())
        await anext(parts)
        settings.RQ_QUEUES = AWAY
        beats = [await anext(parts) for _ in range(30)]
        assert set(beats) == {sse.HEARTBEAT_FRAME}
        tell(redis, 1)
        settings.RQ_QUEUES = at_home
        found = await numbers(parts, 1)
        await parts.aclose()
        return found

    assert run(main) == [1]


def test_a_stream_that_cannot_read_stored_events_ends_as_unavailable(redis: Redis, settings: Any):
    tell(redis, 1)
    asked, at_home = feed(), settings.RQ_QUEUES

    async def main() -> list[bytes]:
        settings.RQ_QUEUES = AWAY
        found = [part async for part in frames(asked)]
        settings.RQ_QUEUES = at_home
        return found

    assert run(main) == [sse.RETRY_FRAME, sse.end_frame("unavailable")]


def test_a_stream_of_a_task_that_is_retried_goes_on(redis: Redis):
    over = iter([False, True])
    tell(redis, 1, state="failed")

    async def main() -> list[bytes]:
        parts = frames(feed(check_over=lambda: next(over)))
        assert await numbers(parts, 1) == [1]
        tell(redis, 2, state="waiting")
        assert await numbers(parts, 1) == [2]
        tell(redis, 3, state="failed")
        return [part async for part in parts][-1:]

    assert run(main) == [sse.end_frame("final")]


def test_a_failed_check_is_repeated_and_a_successful_one_is_shared(redis: Redis):
    answers: list[bool | None] = [None, True]
    asked = 0

    def look() -> bool:
        nonlocal asked
        asked += 1
        if (answer := answers.pop(0)) is None:
            raise Unavailable
        return answer

    async def last(parts: AsyncIterator[bytes]) -> bytes:
        return [part async for part in parts][-1]

    async def main() -> list[bytes]:
        bystander = frames(feed())
        await anext(bystander)
        tell(redis, 1, state="failed")
        await numbers(bystander, 1)
        found = [await last(frames(feed(check_over=look)))]
        found += await asyncio.gather(*(last(frames(feed(check_over=look))) for _ in range(5)))
        await bystander.aclose()
        return found

    assert run(main) == [sse.end_frame("unavailable")] + [sse.end_frame("final")] * 5
    assert asked == 2


def _buffers() -> list[fanout.ClientBuffer]:
    return [buffer for some in fanout.hub()._buffers.values() for buffer in some]


async def _until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.to_thread(wait_until, lambda: True)
