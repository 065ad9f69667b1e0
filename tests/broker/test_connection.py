"""Clients: short time-outs, a circuit breaker for submits, scripts loaded again after a flush."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError
from redis.sentinel import Sentinel

from plugspace_queue import embedded_redis
from plugspace_queue.broker import (
    audit,
    commands,
    connection,
    exports,
    inspection,
    keys,
    lanes,
    presence,
    queue_state,
    scripts,
    stream,
    task_store,
)
from plugspace_queue.broker.connection import (
    Client,
    EmbeddedConnection,
    SafeSentinelConnection,
    client,
)
from plugspace_queue.conf import rq_settings
from plugspace_queue.errors import Unavailable
from tests.broker.tools import QUEUE, Line, entry
from tests.support import took, wait_until


@pytest.fixture(autouse=True)
def fresh_clients() -> Iterator[None]:
    connection.forget_clients()
    yield
    connection.forget_clients()


@pytest.fixture
def nothing_listens(settings, tmp_path) -> None:
    gone = {"UNIX_SOCKET_PATH": str(tmp_path / "gone.sock"), "DB": 0}
    settings.RQ_QUEUES = {name: dict(gone) for name in settings.RQ_QUEUES}


def test_queues_of_one_server_share_a_client_for_each_purpose(redis: Redis) -> None:
    assert client("code") is client("design") is client()
    assert client(purpose="worker") is not client()
    assert [client(purpose=p).purpose for p in ("front", "worker", "block")] == [
        "front",
        "worker",
        "block",
    ]
    assert client().ping()
    assert {info["resp"] for info in client().client_list()} <= {"2", "3"}


@pytest.mark.timed
@pytest.mark.parametrize(
    "config",
    [
        {"URL": "redis://localhost:1/3"},
        {"HOST": "localhost", "PORT": 1, "DB": 3},
        {"UNIX_SOCKET_PATH": "/nowhere/redis.sock", "DB": 3},
    ],
    ids=lambda config: next(iter(config)),
)
def test_every_kind_of_configuration_fails_fast(settings, config: dict) -> None:
    settings.RQ_QUEUES = {"architect": config}
    made = client()
    assert made.connection_pool.connection_kwargs["db"] == 3

    began = time.monotonic()
    with pytest.raises(Unavailable):
        scripts.run(made, [task_store.counts(QUEUE)])
    took(time.monotonic() - began, 1, "a call to a server that is not there")


@pytest.mark.timed
def test_sentinels_give_a_client_that_asks_again_after_each_break(settings) -> None:
    queues, _ = rq_settings(sentinels="localhost:1,localhost:2/main")
    settings.RQ_QUEUES = queues

    made = client()

    assert made.connection_pool.connection_class is SafeSentinelConnection
    began = time.monotonic()
    with pytest.raises(Unavailable):
        scripts.run(made, [task_store.counts(QUEUE)])
    took(time.monotonic() - began, 1, "a call to Sentinels that are not there")
    with pytest.raises(ConnectionError):
        scripts.run(client(purpose="worker"), [task_store.counts(QUEUE)])


def test_an_interrupted_read_under_sentinel_gives_its_connection_up(redis: Redis) -> None:
    class Primary(Sentinel):
        def discover_master(self, service_name: str) -> tuple[str, int]:
            return self.address

    with _tcp_port(redis) as port:
        sentinel = Primary([], connection_class=SafeSentinelConnection, socket_timeout=0.05)
        sentinel.address = ("127.0.0.1", port)
        primary = sentinel.master_for("main", retry=None)
        held = primary.connection_pool.get_connection()
        held.send_command("BLPOP", "nothing", 1)
        with pytest.raises(Exception, match=r"[Tt]ime"):
            held.read_response()

        assert held._sock is None
        held.connect_check_health()
        held.send_command("PING")
        assert held.read_response() == b"PONG"
        held.disconnect()
        primary.connection_pool.disconnect()


class _tcp_port:
    """The server's port, opened for a moment."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def __enter__(self) -> int:
        for port in range(23_700, 23_800):
            try:
                self.redis.config_set("port", port)
            except ResponseError:
                continue
            return port
        raise AssertionError("no free port")

    def __exit__(self, *_: object) -> None:
        self.redis.config_set("port", 0)


def test_the_embedded_server_is_started_by_whoever_misses_it(line: Line) -> None:
    assert client().connection_pool.connection_class is EmbeddedConnection
    embedded_redis.stop()

    scripts.run(client(), [task_store.submit(QUEUE, [entry("a")])])

    assert scripts.run(client(), [task_store.counts(QUEUE)])[0].waiting == 1


def test_the_embedded_server_is_not_started_when_told_so(line: Line, settings) -> None:
    settings.PLUGSPACE_QUEUE = {"EMBEDDED": False}
    embedded_redis.stop()
    try:
        with pytest.raises(Unavailable):
            scripts.run(client(), [task_store.counts(QUEUE)])
        assert not embedded_redis.is_running()
    finally:
        embedded_redis.ensure_running()


def test_after_a_failure_the_front_door_does_not_wait_again(nothing_listens: None) -> None:
    with pytest.raises(Unavailable) as first:
        scripts.run(client(), [task_store.counts(QUEUE)])
    assert isinstance(first.value.__cause__, ConnectionError)

    with pytest.raises(Unavailable) as second:
        stream.append(client(), ["{}"])
    assert second.value.__cause__ is None


@pytest.mark.timed
def test_the_breaker_closes_by_itself_after_a_second(redis: Redis) -> None:
    made = client()
    made.breaker.trip()
    with pytest.raises(Unavailable):
        scripts.run(made, [task_store.counts(QUEUE)])

    def answers() -> bool:
        try:
            scripts.run(made, [task_store.counts(QUEUE)])
        except Unavailable:
            return False
        return True

    began = time.monotonic()
    wait_until(answers)
    took(time.monotonic() - began, 2, "a breaker that was tripped, until it closes")


def test_the_pump_sees_what_redis_says(nothing_listens: None) -> None:
    for _ in range(2):
        with pytest.raises(ConnectionError):
            scripts.run(client(purpose="worker"), [task_store.counts(QUEUE)])


def test_a_demoted_primary_is_unavailable_at_the_front_door(line: Line) -> None:
    line.redis.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(Unavailable) as caught:
            scripts.run(client(), [task_store.submit(QUEUE, [entry("a")])])
        assert isinstance(caught.value.__cause__, ReadOnlyError | ConnectionError)
    finally:
        line.redis.replicaof("NO", "ONE")


def test_full_memory_is_unavailable_at_the_front_door(line: Line) -> None:
    line.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable):
            scripts.run(client(), [task_store.submit(QUEUE, [entry("a")])])
    finally:
        line.redis.config_set("maxmemory", 0)


def test_forgotten_scripts_are_loaded_again_and_no_call_runs_twice(line: Line) -> None:
    line.submit("a", "b", "c")
    line.redis.script_flush()
    line.run(task_store.counts(QUEUE))

    acquire = task_store.acquire(QUEUE, worker="w", want=1, lease_ms=10_000)
    answers = scripts.run(
        line.redis, [task_store.counts(QUEUE), acquire, task_store.places(QUEUE, ["a"]), acquire]
    )

    assert answers[0].waiting == 3
    assert [len(answers[n].leases) for n in (1, 3)] == [1, 1]
    assert len(line.runs()) == 2
    line.check()


def test_the_first_error_of_a_pipeline_is_raised_after_all_have_run(line: Line) -> None:
    bad = task_store.submit(QUEUE, [entry("bad", band=9)])

    with pytest.raises(ResponseError, match="not valid"):
        scripts.run(line.redis, [bad, task_store.submit(QUEUE, [entry("good")])])

    assert line.waits() == ["good"]


def test_no_calls_are_no_round_trip(nothing_listens: None) -> None:
    assert scripts.run(client(), []) == []


def test_every_script_opens_with_its_flags_and_tells_its_arguments() -> None:
    allowed = {
        "acquire",
        "settle",
        "tick",
        "promote_due",
        "withdraw",
        "announce",
        "bump_fence",
        "empty",
        "heartbeat",
    }
    allowed |= {"configure", "pause_organization", "rebuild"}
    rooms = (task_store, exports, audit, lanes, presence, inspection, queue_state)
    wrappers = {name for room in rooms for name in dir(room)}

    assert set(_files()) <= wrappers
    for name in _files():
        text = scripts.source(name)
        assert text.startswith("#!lua flags=allow-oom\n") == (name in allowed), name
        assert text.startswith("#!lua flags=no-writes\n") == (name == "explain"), name
        assert f"--[[\n{name}: " in text
        assert "Returns " in text
        assert "@include" not in text


def _files() -> list[str]:
    folder = Path(connection.__file__).with_name("lua")
    return [path.stem for path in folder.glob("*.lua") if not path.stem.startswith("_")]


def test_events_are_read_in_order_from_a_cursor_on(redis: Redis) -> None:
    start = stream.last_cursor(client())
    stream.append(client(), ['{"n": 1}', '{"n": 2}', '{"n": 3}'])

    reader = client(purpose="block")
    first = stream.read(reader, start, 10, 2)
    rest = stream.read(reader, first[-1][0], 10, 10)

    assert [body["n"] for _, body in first + rest] == [1, 2, 3]
    assert stream.read(reader, stream.last_cursor(reader), 10, 10) == []


def test_a_waiting_reader_gets_an_event_when_it_comes(redis: Redis) -> None:
    reader, got = client(purpose="block"), []
    cursor = stream.last_cursor(reader)
    thread = threading.Thread(target=lambda: got.extend(stream.read(reader, cursor, 5000, 10)))
    thread.start()
    wait_until(lambda: int(redis.info("clients")["blocked_clients"]) == 1)

    stream.append(client(), ['{"n": 1}'])
    thread.join(5)

    assert [body for _, body in got] == [{"n": 1}]


def test_the_stream_is_kept_short(redis: Redis, settings) -> None:
    settings.PLUGSPACE_QUEUE = {"EVENTS_MAXLEN": 100}

    for _ in range(5):
        stream.append(client(), ["{}"] * 200)

    assert redis.xlen(keys.events()) < 400


def test_a_stop_is_told_to_the_worker(redis: Redis) -> None:
    channel = redis.pubsub()
    channel.subscribe("rq:pubsub:w1")
    channel.get_message(timeout=1)

    commands.stop("task", "w1")

    message = wait_until(lambda: channel.get_message(timeout=0.1))
    assert message["data"] == b'{"command": "stop-job", "job_id": "task"}'
    channel.close()


def test_a_client_that_is_not_ours_is_not_guarded() -> None:
    assert not isinstance(Redis(), Client)
    assert issubclass(EmbeddedConnection, UnixDomainSocketConnection)


def test_a_child_process_makes_clients_of_its_own(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_parent = client()

    monkeypatch.setattr(connection.os, "getpid", lambda: -1)

    assert client() is not of_parent
