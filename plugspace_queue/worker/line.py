"""Jobs on their way to threads: one thread is woken at a time, and wakes the next one itself."""

import queue
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """First in, first out, for many threads.

    A thread woken for each job would mostly find that another one, already awake, took it: with
    short jobs that cost more than the jobs.
    """

    def __init__(self) -> None:
        self._jobs: deque[T] = deque()
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_waking = False

    def put(self, job: T) -> None:
        """Have some thread take this; never blocks."""
        # The job first: who was woken before it came looks once more after saying it is awake.
        self._jobs.append(job)
        self._wake_one()

    def close(self, threads: int) -> None:
        """End as many threads when they have nothing to do."""
        for _ in range(threads):
            self._wakes.put(False)

    def jobs(self) -> Iterator[T]:
        """What the calling thread is to do, until the line is closed."""
        while self._wakes.get():
            self._is_waking = False
            yield from self._waiting()

    def _waiting(self) -> Iterator[T]:
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            if self._jobs:
                self._wake_one()
            yield job

    def _wake_one(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            self._wakes.put(True)
