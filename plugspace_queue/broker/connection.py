"""Clients of the queue's Redis: own pools with short time-outs, and what heals a connection.

The front door fails fast and speaks of Unavailable; the worker's pump sees redis's own errors.
"""

import contextlib
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

from django.conf import settings
from django.core.signals import setting_changed
from django_rq.connection_utils import get_redis_connection
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import (
    ConnectionError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection

from plugspace_queue import embedded_redis
from plugspace_queue.conf import get_settings
from plugspace_queue.errors import Unavailable

Purpose = Literal["front", "pump", "block"]
P = ParamSpec("P")
R = TypeVar("R")

CONNECT_TIMEOUT = 0.25
# The last one is longer than anybody blocks on the server, and not by much: a server that froze
# is noticed no sooner.
TIMEOUTS: dict[Purpose, float] = {"front": 2.0, "pump": 1.0, "block": 4.0}
BREAKER = 1.0
GONE = (ConnectionError, TimeoutError, ReadOnlyError)
# Its disk is full, too few replicas follow, a script runs for seconds, its role has changed: the
# server answers, but not with what was asked for.
REFUSALS = re.compile(r"(^|caused error: )(MISCONF|NOREPLICAS|BUSY|UNBLOCKED) ")

# The server is well: a key of another type, or a script that stumbled over a value.
DAMAGED = "The data of this queue in Redis is damaged; nothing was lost, workers repair it."
DAMAGE = re.compile(
    r"(^|caused error: )WRONGTYPE |on @user_script|is not an integer|is not a valid float"
)


class SafeSentinelConnection(SentinelManagedConnection):
    """Asks Sentinel again after every broken connection.

    Stock redis-py keeps a half-read connection after an interrupted BZPOPMIN, whose late reply can
    reach somebody else, and reconnects to the old primary (rq/rq#2268).
    """

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """As in the base class, with a clean connection after every error."""
        options.setdefault("disconnect_on_error", True)
        return super().read_response(disable_decoding=disable_decoding, **options)

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> Any:
        """As in the base class, but a new socket goes where Sentinel says."""
        if not self._sock and retry_socket_connect:
            connect: Callable[[], Any] = self.connect
            return connect()
        return super().connect_check_health(
            check_health=check_health, retry_socket_connect=retry_socket_connect
        )


class EmbeddedConnection(UnixDomainSocketConnection):
    """Starts the embedded server when it is this one that does not answer, and asks only ours."""

    def _connect(self) -> Any:
        connect: Callable[[], Any] = super()._connect
        is_ours = self.path == embedded_redis.socket_path()
        if is_ours:
            self._told(embedded_redis.guard)
        try:
            return connect()
        except OSError:
            if not (is_ours and get_settings().embedded):
                raise
        self._told(embedded_redis.ensure_running)
        return connect()

    def _told(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (RuntimeError, OSError) as error:
            raise ConnectionError(str(error)) from error


class Breaker:
    """After a lost connection nobody waits for the next time-out within a second."""

    def __init__(self) -> None:
        self._shut_until = 0.0

    def check(self) -> None:
        """Raise Unavailable while it is shut."""
        if time.monotonic() < self._shut_until:
            raise Unavailable

    def trip(self) -> None:
        """Shut it."""
        self._shut_until = time.monotonic() + BREAKER

    def reset(self) -> None:
        """Open it."""
        self._shut_until = 0.0


class Client(Redis):
    """A client that knows what it is for."""

    purpose: Purpose
    breaker: Breaker


def guarded(
    function: Callable[Concatenate[Redis, P], R],
) -> Callable[Concatenate[Redis, P], R]:
    """Turn lost connections of a front or blocking client into Unavailable.

    A front client's breaker is honoured too; the pump and foreign clients raise what redis raises.
    """

    @functools.wraps(function)
    def wrapper(connection: Redis, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with UnavailableGuard(connection):
            return function(connection, *args, **kwargs)

    return wrapper


class UnavailableGuard:
    """What `guarded` does, around a block."""

    __slots__ = ("_client",)

    def __init__(self, connection: Redis) -> None:
        is_ours = isinstance(connection, Client) and connection.purpose != "pump"
        self._client = cast(Client, connection) if is_ours else None

    def __enter__(self) -> None:
        if self._client is not None:
            if _cut_off.get():
                raise Unavailable
            self._client.breaker.check()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or self._client is None:
            return
        if isinstance(error, GONE):
            if self._client.purpose == "front":
                self._client.breaker.trip()
            raise Unavailable from error
        if isinstance(error, ResponseError) and (told := _passing(error)):
            raise told from error


def _passing(error: ResponseError) -> Unavailable | None:
    """What callers hear when the server refuses now what it will do later, else None."""
    if is_spoiled(error):
        return Unavailable(DAMAGED)
    return Unavailable() if _is_of_server(error) else None


def _is_of_server(error: Exception) -> bool:
    is_known = isinstance(error, OutOfMemoryError | MasterDownError | ReadOnlyError)
    return is_known or REFUSALS.search(str(error)) is not None


class Spoiled(ResponseError):
    """The answer of a script makes no sense: what it found is not what we wrote."""


def is_spoiled(error: Exception) -> bool:
    """Whether what one queue keeps is damaged: the server is well, and so are other queues."""
    if not isinstance(error, ResponseError) or isinstance(error, NoScriptError):
        return False
    is_damage = isinstance(error, Spoiled) or DAMAGE.search(str(error)) is not None
    return is_damage and not _is_of_server(error)


def is_of_damage(error: Unavailable) -> bool:
    """Whether what one queue keeps is damaged, and nothing else is amiss."""
    return isinstance(error.__cause__, ResponseError) and is_spoiled(error.__cause__)


_cut_off: ContextVar[bool] = ContextVar("cut_off", default=False)


@contextlib.contextmanager
def cut_off() -> Iterator[None]:
    """Redis is away for this thread and what it awaits: it must not hear of uncommitted rows."""
    token = _cut_off.set(True)
    try:
        yield
    finally:
        _cut_off.reset(token)


def is_cut_off() -> bool:
    """Whether Redis is away on purpose."""
    return _cut_off.get()


def client(name: str = "architect", *, purpose: Purpose = "front") -> Client:
    """This process's client for the server of a queue; queues of one server share it."""
    return _client(name, purpose, os.getpid())


def heal(connection: Redis) -> None:
    """Let a stock client's new connections start the embedded server when it is away."""
    pool = connection.connection_pool
    if pool.connection_class is UnixDomainSocketConnection:
        pool.connection_class = EmbeddedConnection


_made: dict[tuple[str, Purpose, int], Client] = {}
_lock = threading.Lock()


@functools.lru_cache(maxsize=256)
def _client(name: str, purpose: Purpose, pid: int) -> Client:
    config = settings.RQ_QUEUES[name]
    place = {key: value for key, value in config.items() if key not in ("QUEUE_CLASS", "ASYNC")}
    with _lock:
        key = (repr(sorted(place.items())), purpose, pid)
        if key not in _made:
            _made[key] = _build(config, purpose)
        return _made[key]


def _build(config: dict[str, Any], purpose: Purpose) -> Client:
    stock: Redis = get_redis_connection(config)
    pool = stock.connection_pool
    if "USE_REDIS_CACHE" not in config:
        heal(stock)
        # django-rq made this pool a moment ago: nothing is connected yet.
        stock.auto_close_connection_pool = False
        pool.connection_kwargs |= _options(purpose)
        _hurry_sentinels(pool)
    made = Client(connection_pool=pool)
    made.purpose = purpose
    made.breaker = Breaker()
    return made


def _hurry_sentinels(pool: Any) -> None:
    """A silent Sentinel must not be asked ten times before the next one is."""
    for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
        sentinel.connection_pool.connection_kwargs |= {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": CONNECT_TIMEOUT,
        }


def _options(purpose: Purpose) -> dict[str, Any]:
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": TIMEOUTS[purpose],
        "protocol": 2,
        "decode_responses": False,
    }


def forget_clients() -> None:
    """Make new clients from now on; the settings changed."""
    with _lock:
        _client.cache_clear()
        _made.clear()


def _reload(*, setting: str, **kwargs: object) -> None:
    if setting == "RQ_QUEUES":
        forget_clients()


setting_changed.connect(_reload, dispatch_uid="plugspace_queue.broker.connection")
