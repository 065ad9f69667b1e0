"""What this process holds: every lease from the grant to the settle, with its run once started."""

import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from plugspace_queue.broker.task_store import Lease
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.processing.run import Run, Told


@dataclass(eq=False)
class Held:
    """A lease in this process; `run` is there once the guard has started the attempt."""

    queue: str
    lease: Lease
    run: Run | None = None
    has_slot: bool = True
    """Whether it keeps a slot: from the grant until its call has come back."""

    @property
    def task_id(self) -> str:
        return self.lease.task_id

    @cached_property
    def id(self) -> uuid.UUID | None:
        """The id of the row; None when it can be no task of ours."""
        return parse_id(self.lease.task_id)


class Table:
    """The leases by task id; shared by pump, ticker and recorder."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._replaced: list[Held] = []
        self._lock = threading.Lock()

    def add(self, held: Iterable[Held]) -> None:
        """Keep new leases; a run of an older lease of the same task is told that it is lost."""
        with self._lock:
            for one in held:
                older = self._held.get(one.task_id)
                if older is not None and older.run is not None:
                    older.run.tell(Told.LOST)
                    self._replaced.append(older)
                self._held[one.task_id] = one

    def remove(self, held: Held) -> None:
        """Forget a settled lease; a newer lease of the same task stays."""
        with self._lock:
            if self._held.get(held.task_id) is held:
                del self._held[held.task_id]

    def get(self, task_id: str) -> Held | None:
        return self._held.get(task_id)

    def all(self) -> list[Held]:
        with self._lock:
            return list(self._held.values())

    def runs(self) -> list[tuple[Held, Run]]:
        """Started attempts nobody has ended yet."""
        with self._lock:
            self._replaced = [h for h in self._replaced if h.run and not h.run.is_recorded]
            held = [*self._held.values(), *self._replaced]
        return [(h, h.run) for h in held if h.run is not None and not h.run.is_recorded]

    def fences(self, queue: str) -> Mapping[str, int]:
        """Id → token of every lease of a queue."""
        return {h.task_id: h.lease.fence for h in self.all() if h.queue == queue}
