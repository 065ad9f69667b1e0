"""`GET tasks/{id}/?wait=…`: the answer comes when the task has ended, or after so many seconds.

Under ASGI a coroutine waits and no thread. Under WSGI up to WAIT_THREADS requests of a process
wait, each in its thread; further ones are answered at once.
"""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

from asgiref.sync import AsyncToSync, SyncToAsync
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.utils.translation import gettext as _
from rest_framework.response import Response

from plugspace_queue.api import grants, stream_limits
from plugspace_queue.api.base import ApiView
from plugspace_queue.conf import get_settings
from plugspace_queue.errors import AuthenticationRefused
from plugspace_queue.events import fanout, waiters
from plugspace_queue.events.frames import Topic
from plugspace_queue.models import task_queries
from plugspace_queue.services.submission import alias
from plugspace_queue.services.waits import until_woken

RECHECK = 10.0
"""Seconds after which the row is read although no event came."""

_lock = threading.Lock()
_threads = 0
"""Threads of this process that wait."""


class TaskWait:
    """One request that waits: its place among the caller's streams, and what wakes it."""

    def __init__(
        self, view: ApiView, task_id: UUID, seconds: float, answer: Callable[[], Response]
    ) -> None:
        self.view, self.seconds = view, seconds
        self.is_revoked = False
        self._task_id = task_id
        self._answer = answer
        self._holder = view.caller.holder()
        grants.refuse_suspended(self._holder)
        self._claim = stream_limits.claim(self._holder)
        self.waiter = waiters.register(Topic("jobId", str(task_id)))

    def has_ended(self) -> bool:
        """Whether the task has ended, or the caller may no longer ask. Reads the row."""
        return self.is_revoked or not task_queries.is_open(self._task_id)

    def answer(self) -> Response:
        """The task as it is now.

        When the grant has ended, raises OrganizationSuspended or AuthenticationRefused.
        """
        if self.is_revoked:
            grants.refuse_suspended(self._holder)
            raise AuthenticationRefused(_("These credentials ended while the request waited."))
        return self._answer()

    @contextmanager
    def watched(self) -> Any:
        """End the wait when the grant of the caller ends; leave its place afterwards."""
        with ExitStack() as held:
            held.callback(self._claim.release)
            held.callback(self.waiter.close)
            held.callback(grants.watch(self._holder, self._revoke))
            yield

    def _revoke(self) -> None:
        self.is_revoked = True
        self.waiter.wake()


def wait_for_end(
    view: ApiView, task_id: UUID, seconds: float, answer: Callable[[], Response]
) -> Response:
    """What `answer` gives when the task has ended, or after so many seconds.

    Raises OrganizationSuspended, TooManyStreams, Unavailable, AuthenticationRefused.
    """
    wait = TaskWait(view, task_id, seconds, answer)
    if isinstance(view.request._request, ASGIRequest) and not wait.has_ended():
        # The thread of this request ends soon.
        grants.close_connections()
        return LaterResponse(wait)
    with wait.watched():
        if _may_block():
            try:
                _block(wait)
            finally:
                _leave()
        return wait.answer()


def _may_block() -> bool:
    """Take one of the places for threads. None in a transaction, which would see no end."""
    global _threads
    if transaction.get_connection(alias()).in_atomic_block:
        return False
    with _lock:
        is_free = _threads < get_settings().wait_threads
        _threads += is_free
    return is_free


def _leave() -> None:
    global _threads
    with _lock:
        _threads -= 1


def _block(wait: TaskWait) -> None:
    ends_at = time.monotonic() + wait.seconds
    while not wait.has_ended() and (left := ends_at - time.monotonic()) > 0:
        concurrent.futures.wait([wait.waiter.woken], timeout=min(left, RECHECK))
        wait.waiter.again()


class LaterResponse(Response):
    """A response that is made in the event loop when the wait is over.

    Django awaits `render` of a response when it is a coroutine function.
    """

    def __init__(self, wait: TaskWait) -> None:
        super().__init__()
        self._wait = wait

    async def render(self) -> Response:  # type: ignore[override]
        wait = self._wait
        clock = asyncio.get_running_loop().time
        ends_at = clock() + wait.seconds
        with wait.watched():
            _end_own_thread()
            while (left := ends_at - clock()) > 0:
                await until_woken(wait.waiter, min(left, RECHECK))
                if wait.is_revoked or await fanout.in_thread(self._has_ended):
                    break
            return await fanout.in_thread(self._made)

    def _has_ended(self) -> bool:
        # An error ends the wait, and the answer tells it.
        try:
            return self._wait.has_ended()
        except Exception:
            return True
        finally:
            grants.close_connections()

    def _made(self) -> Response:
        view = self._wait.view
        try:
            try:
                found = self._wait.answer()
            except Exception as error:
                found = view.handle_exception(error)
            final: Response = view.finalize_response(view.request, found, *view.args, **view.kwargs)
            made: Response = final.render()
            return made
        finally:
            grants.close_connections()


def _end_own_thread() -> None:
    """End the thread that Django keeps for this request; for what follows it starts another one."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or getattr(AsyncToSync.executors, "current", None) is not None:
        # A middleware that knows no coroutines waits in it.
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)
