"""Streams of events from the project's ASGI application, served by uvicorn."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.events import publish
from plugspace_queue.models import ApiKey, Task
from tests.factories import arguments, make_organization, make_task
from tests.processes.web import Crowd, Stream, Web, limits, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    with serving(tmp_path / "web.log") as web:
        yield web


@pytest.fixture
def key(transactional_db: None) -> str:
    return ApiKey.issue(make_organization("acme"), ["read"])[1]


@pytest.fixture
def stream_of(web: Web, key: str) -> Iterator[Callable[[str], Stream]]:
    """An open stream of a path below the prefix."""
    made: list[Stream] = []

    def start(path: str) -> Stream:
        made.append(Stream(web, path, key))
        made[-1].open()
        return made[-1]

    yield start
    for stream in made:
        stream.close()


Open = Callable[[str], Stream]


def progress(task: Task, number: int) -> None:
    publish.emit(EventName.PROGRESS, task, number=number, progress={"percent": number})


def percents(stream: Stream) -> list[int]:
    return [data["progress"]["percent"] for _, name, data in stream.events if "Progress" in name]


def test_a_task_is_told_to_its_end_and_each_event_once_over_disconnects(stream_of: Open):
    task = queue_manager.add_task(**arguments())
    stream = stream_of(f"tasks/{task.pk}/events/")
    assert stream.take(1) == ["taskAdded"]
    progress(task, 1)
    assert stream.take(1) == ["taskProgress"]
    stream.close()
    progress(task, 2)
    progress(task, 3)
    stream.open()
    progress(task, 4)
    assert stream.take(3) == ["taskProgress"] * 3
    queue_manager.cancel(task.pk)

    assert stream.take(3) == ["taskCancelled", "taskFailed", "end"]
    assert stream.events[-1][2] == {"reason": "final"}
    assert stream.next() == ("", "", None)
    assert percents(stream) == [1, 2, 3, 4]
    ids = [cursor for cursor, _, _ in stream.events if cursor]
    assert len(set(ids)) == len(ids)
    assert stream.open().status == 204


def test_a_task_that_had_ended_is_told_from_its_submit_on(stream_of: Open):
    task = queue_manager.add_task(**arguments())
    queue_manager.cancel(task.pk)
    forgotten = make_task(state=State.COMPLETE)

    stream = stream_of(f"tasks/{task.pk}/events/")
    silent = stream_of(f"tasks/{forgotten.pk}/events/")

    assert stream.take(4) == ["taskAdded", "taskCancelled", "taskFailed", "end"]
    assert silent.take(1) == ["end"]


def test_a_workflow_is_told_until_its_last_step_has_ended(stream_of: Open):
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    stream = stream_of(f"workflows/{handle.workflow_id}/events/")
    stream.take(len(handle.task_ids))

    queue_manager.cancel_workflow(handle.workflow_id)

    ended = 2 * len(handle.task_ids)
    assert set(stream.take(ended)) == {"taskCancelled", "taskFailed"}
    assert stream.take(1) == ["end"]


def test_an_organization_is_told_of_its_tasks_from_now_on_and_of_no_other(stream_of: Open):
    queue_manager.add_task(**arguments())
    make_organization("rival")
    stream = stream_of("organizations/acme/events/")

    queue_manager.add_task(**arguments(organization_id="rival"))
    task = queue_manager.add_task(**arguments())

    assert stream.take(1) == ["taskAdded"]
    assert stream.events[0][2]["jobId"] == str(task.pk)


CLIENTS, EVENTS = 500, 40


@pytest.mark.slow
def test_500_clients_that_come_at_once_get_every_event_once_in_flat_memory(
    tmp_path: Path, key: str
):
    task = queue_manager.add_task(**arguments())
    with serving(tmp_path / "web.log", **limits(streams_per_key=600)) as web:
        told, grown = asyncio.run(_told_to_all(web, key, task))

    assert len(told) == CLIENTS
    assert all(len(ids) == len(set(ids)) == EVENTS for ids in told)
    assert len({tuple(ids) for ids in told}) == 1
    assert grown < 24 * 1024 * 1024


async def _told_to_all(web: Web, key: str, task: Task) -> tuple[list[list[str]], int]:
    alone = web.rss()
    crowd = Crowd(web.port, "organizations/acme/events/", key)
    last = f'"percent": {EVENTS}}}'
    clients = [asyncio.create_task(crowd.listen(last)) for _ in range(CLIENTS)]
    while crowd.opened < CLIENTS:
        await asyncio.wait(clients, timeout=0.05, return_when=asyncio.FIRST_EXCEPTION)
        assert not any(client.done() for client in clients), [c for c in clients if c.done()][:3]
    before = web.rss()
    for number in range(1, EVENTS + 1):
        await asyncio.to_thread(progress, task, number)
    told = list(await asyncio.gather(*clients))
    grown = web.rss() - before
    print(f"{CLIENTS} clients: {alone >> 20} -> {before >> 20} MiB, grown by {grown >> 10} KiB")
    return told, grown
