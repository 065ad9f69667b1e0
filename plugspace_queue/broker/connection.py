"""Clients of the queue's Redis: own pools with short time-outs, and recovery of connections.

Clients of the API side ("front") fail fast and raise Unavailable; those of the worker raise
redis-py's own errors.
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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
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
from plugspace_queue.domain import catalog
from plugspace_queue.errors import Unavailable

Purpose = Literal["front", "worker", "block"]
P = ParamSpec("P")
R = TypeVar("R")

CONNECT_TIMEOUT = 0.25
# The time-out of "block" is slightly longer than the longest blocking command, as it is also the
# time until a frozen server is noticed.
TIMEOUTS: dict[Purpose, float] = {"front": 2.0, "worker": 1.0, "block": 4.0}
BREAKER = 1.0
GONE = (ConnectionError, TimeoutError, ReadOnlyError)
# Errors of a reachable server that cannot execute commands now: its disk is full, it has too few
# replicas, a script runs for seconds, its role has changed.
REFUSALS = re.compile(r"(^|caused error: )(MISCONF|NOREPLICAS|BUSY|UNBLOCKED) ")

# Errors of damaged data on a healthy server: a key of a wrong type, or a value a script cannot use.
DAMAGED = gettext_noop(
    "The data of this queue in Redis is damaged; nothing was lost, workers repair it."
)
DAMAGE = re.compile(
    r"(^|caused error: )WRONGTYPE |on @user_script|is not an integer|is not a valid float"
)


class SafeSentinelConnection(SentinelManagedConnection):
    """Asks Sentinel again after every broken connection.

    Stock redis-py keeps a half-read connection after an interrupted BZPOPMIN, whose late reply may
    be read by another caller, and reconnects to the old primary (rq/rq#2268).
    """

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """As in the base class, but disconnects after every error."""
        options.setdefault("disconnect_on_error", True)
        return super().read_response(disable_decoding=disable_decoding, **options)

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> Any:
        """As in the base class, but a new socket connects to the primary that Sentinel names."""
        if not self._sock and retry_socket_connect:
            connect: Callable[[], Any] = self.connect
            return connect()
        return super().connect_check_health(
            check_health=check_health, retry_socket_connect=retry_socket_connect
        )


class EmbeddedConnection(UnixDomainSocketConnection):
    """Connects to the embedded server only if it is ours, and starts it when it does not answer."""

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
    """A circuit breaker: for a second after a lost connection, calls fail without a time-out."""

    def __init__(self) -> None:
        self._shut_until = 0.0

    def check(self) -> None:
        """Raise Unavailable for a second after `trip`."""
        if time.monotonic() < self._shut_until:
            raise Unavailable

    def trip(self) -> None:
        """Make all calls fail for the next second."""
        self._shut_until = time.monotonic() + BREAKER

    def reset(self) -> None:
        """Allow calls again at once."""
        self._shut_until = 0.0


class Client(Redis):
    """A client with its purpose and its circuit breaker."""

    purpose: Purpose
    breaker: Breaker


def guarded(
    function: Callable[Concatenate[Redis, P], R],
) -> Callable[Concatenate[Redis, P], R]:
    """Translate lost connections of a front or blocking client into Unavailable.

    A front client also uses its breaker; clients of the worker and of others raise redis-py's own
    errors.
    """

    @functools.wraps(function)
    def wrapper(connection: Redis, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with UnavailableGuard(connection):
            return function(connection, *args, **kwargs)

    return wrapper


class UnavailableGuard:
    """`guarded` as a context manager."""

    __slots__ = ("_client",)

    def __init__(self, connection: Redis) -> None:
        is_ours = isinstance(connection, Client) and connection.purpose != "worker"
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
        if isinstance(error, ResponseError) and (translated := _passing(error)):
            raise translated from error


def _passing(error: ResponseError) -> Unavailable | None:
    """Unavailable for an error that will pass or be repaired; None for any other error."""
    if is_spoiled(error):
        return Unavailable(_(DAMAGED))
    return Unavailable() if _is_of_server(error) else None


def _is_of_server(error: Exception) -> bool:
    is_known = isinstance(error, OutOfMemoryError | MasterDownError | ReadOnlyError)
    return is_known or REFUSALS.search(str(error)) is not None


class Spoiled(ResponseError):
    """A script's answer cannot be parsed, because the data it read is damaged."""


def is_spoiled(error: Exception) -> bool:
    """Whether the data of one queue is damaged, while the server and other queues work."""
    if not isinstance(error, ResponseError) or isinstance(error, NoScriptError):
        return False
    is_damage = isinstance(error, Spoiled) or DAMAGE.search(str(error)) is not None
    return is_damage and not _is_of_server(error)


def unless_spoiled(outcome: Any) -> Any:
    """An answer; None in place of an error of damaged data. Raises any other error."""
    if not isinstance(outcome, Exception):
        return outcome
    if not is_spoiled(outcome):
        raise outcome
    return None


_cut_off: ContextVar[bool] = ContextVar("cut_off", default=False)


@contextlib.contextmanager
def cut_off() -> Iterator[None]:
    """Make Redis unavailable in this context, so that uncommitted rows are not published."""
    token = _cut_off.set(True)
    try:
        yield
    finally:
        _cut_off.reset(token)


def is_cut_off() -> bool:
    """Whether `cut_off` is active."""
    return _cut_off.get()


def client(name: str | None = None, *, purpose: Purpose = "front") -> Client:
    """This process's client for a queue's server (the home queue's); queues on one share it."""
    return _client(name or home_queue(), purpose, os.getpid())


@functools.cache
def home_queue() -> str:
    """The queue whose server holds data of no queue: organizations, usage, workflows, events."""
    return get_settings().home_queue or catalog.first_queue()


def heal(connection: Redis) -> None:
    """Make a stock client's new connections start the embedded server when it does not run."""
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
        # django-rq has just created this pool, so no connection has the old options.
        stock.auto_close_connection_pool = False
        pool.connection_kwargs |= _options(purpose)
        _hurry_sentinels(pool)
    made = Client(connection_pool=pool)
    made.purpose = purpose
    made.breaker = Breaker()
    return made


def _hurry_sentinels(pool: Any) -> None:
    """Without retries, so that a Sentinel that does not answer is skipped at once."""
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
    """Drop all clients after a change of settings; new ones are created on demand."""
    with _lock:
        _client.cache_clear()
        _made.clear()


def _reload(*, setting: str, **kwargs: object) -> None:
    if setting == "RQ_QUEUES":
        forget_clients()
    if setting == "PLUGSPACE_QUEUE":
        home_queue.cache_clear()


setting_changed.connect(_reload, dispatch_uid="plugspace_queue.broker.connection")
