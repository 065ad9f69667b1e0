"""Polls of events: how many of one organization are answered at once, how much each one reads."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connections
from redis import Redis

from plugspace_queue.api import events as events_api
from plugspace_queue.api.authentication import Credential, StreamHolder
from plugspace_queue.api.stream_limits import Turns
from plugspace_queue.api.stream_limits import poll as place_for_poll
from plugspace_queue.broker import keys
from plugspace_queue.errors import TooManyStreams, Unavailable
from plugspace_queue.events import fanout
from plugspace_queue.models import ApiKey
from tests.api.asgi import Request, until
from tests.api.conftest import ApiClient
from tests.factories import make_organization
from tests.support import patient, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

POLLS = 60


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Any:
    yield
    connections.close_all()


class Gate:
    """Holds the reading of one organization's events; `held` counts the polls that wait here."""

    def __init__(self, organization_id: str) -> None:
        self.held = 0
        self.opened = threading.Event()
        self._organization_id = organization_id
        self._read = fanout.read_page

    def kept(self, subject: Any, *rest: Any) -> Any:
        if subject.id == self._organization_id:
            self.held += 1
            assert self.opened.wait(patient(30))
        return self._read(subject, *rest)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate("acme")
    monkeypatch.setattr(fanout, "read_page", made.kept)
    yield made
    made.opened.set()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), patient(50)))


def key_of(organization_id: str) -> str:
    return ApiKey.issue(make_organization(organization_id), ["read"])[1]


def poll(organization_id: str, key: str) -> Request:
    path = f"/api/v1/organizations/{organization_id}/events/?since=0"
    return Request(path, key, accept="application/json")


@pytest.mark.slow
def test_60_polls_of_one_organization_leave_the_turns_of_others_free(gate: Gate):
    greedy, rival = key_of("acme"), key_of("rival")

    async def main() -> tuple[list[Request], int]:
        polls = [poll("acme", greedy) for _ in range(POLLS)]
        answered = [poll("rival", rival), Request("/api/v1/organizations/rival/events/", rival)]
        await until(lambda: all(r.parts for r in answered), *answered)
        await until(lambda: sum(p.status == 429 for p in polls) + gate.held == POLLS)
        held = gate.held
        gate.opened.set()
        answered[1].hang_up()
        await asyncio.gather(*(r.task for r in [*polls, *answered]))
        assert [r.status for r in answered] == [200, 200]
        return polls, held

    polls, held = run(main)

    refused = [p for p in polls if p.status == 429]
    assert (held, len(polls) - len(refused)) == (4, 4)
    assert all(p.status == 200 for p in polls if p not in refused)
    problem = json.loads(refused[0].body)
    assert (problem["code"], problem["limitOf"]) == ("REQUEST_RATE_LIMITED", "organization")
    assert {p.headers["Retry-After"] for p in refused} == {"1"}


def test_polls_of_all_organizations_together_leave_turns_for_new_streams():
    holders = [StreamHolder(f"org-{n}", Credential("key", n)) for n in range(4)]
    with ExitStack() as places:
        for holder in holders[:3] * 4:
            places.enter_context(place_for_poll(holder))
        with pytest.raises(Unavailable), place_for_poll(holders[3]):
            pass
        with pytest.raises(TooManyStreams), place_for_poll(holders[0]):
            pass

    with place_for_poll(holders[3]), place_for_poll(holders[0]):
        pass


class Waiting(threading.Thread):
    """Asks for a turn in a thread, notes that it has it, and gives it back."""

    def __init__(self, turns: Turns, name: str, order: list[str]) -> None:
        super().__init__(daemon=True)
        self._turns, self._whose, self._order = turns, name, order
        self.start()

    def run(self) -> None:
        with self._turns.turn(self._whose):
            self._order.append(self._whose)


def test_a_late_credential_does_not_wait_for_all_requests_of_another():
    turns, order = Turns(1, 1), []

    def begin(name: str, count: int, waiting: int) -> list[Waiting]:
        threads = [Waiting(turns, name, order) for _ in range(count)]
        wait_until(lambda: sum(map(len, turns._waiting.values())) == waiting)
        return threads

    with turns.turn("acme"):
        threads = begin("acme", 20, 20) + begin("rival", 2, 22)
    for thread in threads:
        thread.join(patient(10))

    assert order == ["acme", "rival", "acme", "rival"] + ["acme"] * 18


def test_one_credential_leaves_turns_for_others_and_returns_its_own():
    turns = Turns(3, 2)
    order: list[str] = []
    with turns.turn("acme"), turns.turn("acme"):
        third = Waiting(turns, "acme", order)
        wait_until(lambda: "acme" in turns._waiting)
        with turns.turn("rival"):
            assert order == []
    third.join(patient(10))

    assert order == ["acme"]
    with turns.turn("rival"), turns.turn("rival"), turns.turn("acme"):
        pass


def add_events(redis: Redis, organization_id: str, count: int) -> None:
    text = json.dumps({"name": "taskAdded", "organizationId": organization_id})
    with redis.pipeline() as pipe:
        for _ in range(count):
            pipe.xadd(keys.events(), {"event": text})
        pipe.execute()


def test_a_poll_reads_a_bounded_part_of_the_stream_and_returns_where_to_continue(
    acme: ApiClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    read = count_pages(monkeypatch)
    add_events(redis, "rival", events_api.MAX_READ + 2 * fanout.PAGE)
    add_events(redis, "acme", 1)

    first = acme.ask("organizations/acme/events/", since="0").json()
    pages = len(read)
    second = acme.ask("organizations/acme/events/", since=first["cursor"]).json()

    assert pages * fanout.PAGE == events_api.MAX_READ
    assert (first["results"], first["hasMore"]) == ([], True)
    assert ([e["id"] for e in second["results"]], second["hasMore"]) == ([second["cursor"]], False)


def test_a_poll_of_large_events_ends_at_a_number_of_bytes(
    acme: ApiClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(events_api, "MAX_BYTES", 1000)
    add_events(redis, "acme", 3 * fanout.PAGE)

    page = acme.ask("organizations/acme/events/", since="0", limit=1000).json()

    assert (len(page["results"]), page["hasMore"]) == (fanout.PAGE, True)
    assert page["cursor"] == page["results"][-1]["id"]


def test_a_stream_without_an_asgi_server_advances_its_client_past_events_of_others(
    acme: ApiClient, redis: Redis
):
    first = redis.xadd(keys.events(), {"event": "{}"}).decode()
    add_events(redis, "rival", events_api.MAX_READ)
    add_events(redis, "acme", 1)

    def resumed(cursor: str) -> list[str]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
        told = acme.get("/api/v1/organizations/acme/events/", headers=headers)
        return told.content.decode().splitlines()

    retry, _, moved, *rest = resumed(first)
    assert (retry, moved[:4], rest) == ("retry: 2000", "id: ", [""])
    assert resumed(moved[4:])[3] == "event: taskAdded"


def count_pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cursors that the stream is read from, from now on."""
    read: list[str] = []
    read_page = fanout.read_page
    monkeypatch.setattr(
        fanout, "read_page", lambda s, after, *r: read.append(after) or read_page(s, after, *r)
    )
    return read
