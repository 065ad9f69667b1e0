"""How RQ's pages read what jobs hold: as JSON, whatever wrote it; what is none is shown as a note.

RQ reads with pickle wherever no serializer is named: the worker of a page, the job of an
execution, a registry that is tidied. Whoever can write to Redis would run code in the web process.
So would the callbacks of abandoned jobs, which RQ calls by name when a page is only viewed.

Queues of the project whose jobs are pickles by its own settings are read as RQ does.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from redis.exceptions import ResponseError
from rq.exceptions import DeserializationError, InvalidJobOperation
from rq.registry import StartedJobRegistry
from rq.serializers import DefaultSerializer

from plugspace_queue.rq.stock import pickles

NOTE = "(not JSON, not shown)"

UNREADABLE = (
    DeserializationError,
    InvalidJobOperation,
    ResponseError,
    zlib.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
)
"""Errors of RQ's code when a key is not as RQ writes it: its pages check nothing."""

_is_page = ContextVar("plugspace_queue_rq_page", default=False)


class Unread(tuple[Any, ...]):
    """Bytes that are no JSON: RQ takes it for a job's function without arguments, people see a
    note, and where RQ saves it again the bytes stay as they were."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "Unread":
        made = super().__new__(cls, (NOTE, None, (), {}))
        made.raw = raw
        return made

    def __repr__(self) -> str:
        return NOTE


class PageSerializer:
    """JSON, or a note."""

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value, or the bytes themselves behind a note."""
        try:
            return json.loads(data.decode())
        except (ValueError, RecursionError):
            return Unread(data)

    @staticmethod
    def dumps(value: Any) -> bytes:
        """JSON, or the bytes behind the note."""
        if isinstance(value, Unread):
            return value.raw
        return json.dumps(value).encode()


@contextmanager
def reading_safely() -> Iterator[None]:
    """Nothing of RQ's loads pickle in this block and context."""
    token = _is_page.set(True)
    try:
        yield
    finally:
        _is_page.reset(token)


def is_page() -> bool:
    """Whether a page of RQ's is being made."""
    return _is_page.get()


def serializer(stock: Any) -> Any:
    """The serializer of a queue or job: the given one, but for a page."""
    return PageSerializer if _is_page.get() else stock


def install() -> None:
    """Let RQ's default serializer, which is pickle, read as pages do while one is made.

    And let no page end abandoned jobs: workers do, and call what is to be called then.
    """
    if not hasattr(DefaultSerializer, _MARK):
        DefaultSerializer.loads = staticmethod(_loads(DefaultSerializer.loads))
        DefaultSerializer.dumps = staticmethod(_dumps(DefaultSerializer.dumps))
        StartedJobRegistry.cleanup = _cleanup(StartedJobRegistry.cleanup)  # type: ignore[method-assign]
        setattr(DefaultSerializer, _MARK, True)


_MARK = "is_safe_on_pages"


def _loads(stock: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def loads(data: bytes) -> Any:
        return PageSerializer.loads(data) if _is_page.get() else stock(data)

    return loads


def _dumps(stock: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def dumps(value: Any) -> bytes:
        return value.raw if isinstance(value, Unread) else stock(value)

    return dumps


def _cleanup(stock: Callable[..., None]) -> Callable[..., None]:
    @wraps(stock)
    def cleanup(registry: StartedJobRegistry, *args: Any, **kwargs: Any) -> None:
        if _is_page.get() and not pickles(registry.name):
            return
        token = _is_page.set(False)
        try:
            stock(registry, *args, **kwargs)
        finally:
            _is_page.reset(token)

    return cleanup
