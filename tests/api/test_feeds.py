"""One reader, many listeners: each event once, slow ones dropped, silence shown, nothing left."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import conf
from plugspace_queue.api import sse
from plugspace_queue.api.sse import Feed, frames
from plugspace_queue.broker import keys
from plugspace_queue.errors import Unavailable
from plugspace_queue.events import fanout
from plugspace_queue.events.frames import Subject
from tests.support import wait_until

SUBJECT = Subject("jobId", "t1")
AWAY, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")


@pytest.fixture(autouse=True)
def nobody_is_left():
    yield
    wait_until(lambda: not _readers(), 5, "a reader goes on without listeners")


def _readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "plugspace-feeds"]


def tell(redis: Redis, number: int, task: str = "t1", **more: Any) -> str:
    body = {"name": "taskProgress", "jobId": task, "state": "processing", "n": number, **more}
    return redis.xadd(keys.events(), {"event": json.dumps(body)}).decode()


def feed(start: str = "0-0", **more: Any) -> Feed:
    return Feed(subject=SUBJECT, start=start, now=fanout.newest(), is_staff=False, **more)


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


def test_kept_and_live_events_overlap_and_each_comes_once_in_order(redis: Redis):
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


def test_who_takes_nothing_is_dropped_and_told_so_and_resumes(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fanout, "MOST_WAITING", 10)

    async def main() -> tuple[bytes, list[int]]:
        slow = frames(feed())
        await anext(slow)
        first = tell(redis, 0)
        assert await numbers(slow, 1) == [0]
        for number in range(1, 30):
            await asyncio.to_thread(tell, redis, number)
        await _until(lambda: any(line.ended for line in _lines()))
        last = [part async for part in slow][-1]
        again = frames(feed(start=first))
        rest = await numbers(again, 29)
        await again.aclose()
        return last, rest

    last, rest = run(main)
    assert last == sse.end("slow")
    assert rest == list(range(1, 30))


def test_bytes_fill_a_line_too_but_one_large_event_fits(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fanout, "MOST_BYTES", 1000)

    async def main() -> bytes:
        parts = frames(feed())
        await anext(parts)
        tell(redis, 1, text="x" * 5000)
        assert await numbers(parts, 1) == [1]
        for number in (2, 3):
            tell(redis, number, text="x" * 5000)
        await _until(lambda: any(line.ended for line in _lines()))
        return [part async for part in parts][-1]

    assert run(main) == sse.end("slow")


def test_a_dropped_client_that_never_reads_on_is_cut(redis: Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fanout, "MOST_WAITING", 1)
    monkeypatch.setitem(fanout.GRACE, fanout.SLOW, 0.05)

    async def stuck() -> None:
        async for _ in frames(feed()):
            await asyncio.Event().wait()

    async def main() -> bool:
        request = asyncio.create_task(stuck())
        await _until(_lines)
        for number in range(3):
            tell(redis, number)
        await asyncio.wait([request])
        return request.cancelled()

    assert run(main)


def test_silence_is_broken_by_a_heartbeat_and_ends_after_the_lifetime(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sse, "HEARTBEAT", 0.05)
    monkeypatch.setattr(sse, "LIFETIME", 0.4)

    async def main() -> list[bytes]:
        return [part async for part in frames(feed())]

    first, *beats, last = run(main)
    assert (first, last) == (sse.RETRY, sse.end("lifetime"))
    assert set(beats) == {sse.BEAT}
    assert len(beats) >= 3


def test_listeners_outlive_a_cut_connection(redis: Redis):
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


def test_a_stream_stays_open_while_redis_is_away_and_goes_on_afterwards(
    redis: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sse, "HEARTBEAT", 0.05)
    at_home = settings.RQ_QUEUES

    async def main() -> list[int]:
        parts = frames(feed())
        await anext(parts)
        settings.RQ_QUEUES = AWAY
        beats = [await anext(parts) for _ in range(30)]
        assert set(beats) == {sse.BEAT}
        tell(redis, 1)
        settings.RQ_QUEUES = at_home
        found = await numbers(parts, 1)
        await parts.aclose()
        return found

    assert run(main) == [1]


def test_who_cannot_be_told_what_is_kept_is_told_that_redis_is_away(redis: Redis, settings: Any):
    tell(redis, 1)
    asked, at_home = feed(), settings.RQ_QUEUES

    async def main() -> list[bytes]:
        settings.RQ_QUEUES = AWAY
        found = [part async for part in frames(asked)]
        settings.RQ_QUEUES = at_home
        return found

    assert run(main) == [sse.RETRY, sse.end("unavailable")]


def test_a_task_that_is_tried_again_is_not_over(redis: Redis):
    over = iter([False, True])
    tell(redis, 1, state="failed")

    async def main() -> list[bytes]:
        parts = frames(feed(look=lambda: next(over)))
        assert await numbers(parts, 1) == [1]
        tell(redis, 2, state="waiting")
        assert await numbers(parts, 1) == [2]
        tell(redis, 3, state="failed")
        return [part async for part in parts][-1:]

    assert run(main) == [sse.end("final")]


def test_what_could_not_be_looked_up_is_asked_again_and_else_once_for_all(redis: Redis):
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
        found = [await last(frames(feed(look=look)))]
        found += await asyncio.gather(*(last(frames(feed(look=look))) for _ in range(5)))
        await bystander.aclose()
        return found

    assert run(main) == [sse.end("unavailable")] + [sse.end("final")] * 5
    assert asked == 2


def _lines() -> list[fanout.Line]:
    return [line for lines in fanout.hub()._lines.values() for line in lines]


async def _until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.to_thread(wait_until, lambda: True)
