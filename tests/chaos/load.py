"""The users of a run: threads that submit, cancel, retry, reorder, and note the answers."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from django.db import close_old_connections, connection
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.conf import SEED_TYPES
from plugspace_queue.errors import QueueError, Unavailable
from tests.chaos.calls import ACCEPTED, LEAK, REFUSED, UNCLEAR, Book, Call
from tests.factories import INPUTS

ORGANIZATIONS = {
    "acme": "enterprise",
    "birch": "enterprise",
    "cedar": "professional",
    "delta": "starter",
    "elm": "free",
}
TYPES = list(SEED_TYPES)
WEIGHTS = [5, 5, 1, 4, 1, 5]
"""CODE starts a process each time, DEPLOY has a limit of starts."""

SCRIPTS = ["work", "busy", "fail", "crash"]
SCRIPT_WEIGHTS = [80, 12, 7, 0.4]
MOST_TRIES = 40


class Numbers:
    """Names of calls, the same sequence for all threads."""

    def __init__(self) -> None:
        self._next = count(1)

    def name(self) -> str:
        return f"call-{next(self._next):06d}"


class Recent:
    """Ids of the newest tasks of all threads, and of those that probably did not complete."""

    def __init__(self) -> None:
        self.all: deque[str] = deque(maxlen=200)
        self.broken: deque[str] = deque(maxlen=20)


class User(threading.Thread):
    """One thread of load, `rate` calls a second, with a chance of its own."""

    def __init__(
        self, seed: str, rate: float, book: Book, numbers: Numbers, recent: Recent
    ) -> None:
        super().__init__(name=f"chaos-user-{seed}", daemon=True)
        self._chance = random.Random(seed)
        self._pause = 1 / rate
        self._book = book
        self._numbers = numbers
        self._recent = recent
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        verbs: list[Callable[[], None]] = [
            self._single,
            self._bulk,
            self._workflow,
            self._chain,
            self._cancel,
            self._retry,
            self._reorder,
        ]
        while not self._stopping.wait(self._chance.uniform(0, 2 * self._pause)):
            self._chance.choices(verbs, [10, 1, 1.5, 1, 2.5, 1.5, 1])[0]()
        connection.close()

    # Submits.

    def _single(self) -> None:
        call = self._call("single", size=1)
        arguments = self._arguments(call) | self._times(call)
        key = call.name if self._chance.random() < 0.5 else None
        self._submit(call, lambda: [queue_manager.add_task(**arguments, idempotency_key=key)], key)

    def _bulk(self) -> None:
        call = self._call("bulk", size=self._chance.randint(2, 12))
        items = [self._arguments(call) for _ in range(call.size)]
        self._submit(call, lambda: queue_manager.add_tasks(items, limit_requests=False), None)

    def _workflow(self) -> None:
        kind, size = self._chance.choice([("create", 3), ("clone", 4), ("design-only", 2)])
        call = self._call("workflow", size=size)
        given = {"url": "https://example.com/"} if kind == "clone" else {"prompt": "A shop"}

        def submit() -> list[Any]:
            handle = queue_manager.add_workflow(
                self._script(call),
                call.name,
                self._organization(),
                given,
                kind=kind,
                idempotency_key=call.name,
                limit_requests=False,
            )
            return list(handle.task_ids)

        self._submit(call, submit, call.name)

    def _chain(self) -> None:
        """A task that waits for another one."""
        parent = self._call("single", size=1)
        organization = self._organization()
        first = self._arguments(parent) | {"organization_id": organization}
        self._submit(parent, lambda: [queue_manager.add_task(**first)], None)
        if not parent.ids:
            return
        child = self._call("follower", size=1)
        second = self._arguments(child) | {
            "organization_id": organization,
            "depends_on": [parent.ids[0]],
        }
        self._submit(child, lambda: [queue_manager.add_task(**second)], None)

    def _call(self, verb: str, size: int) -> Call:
        script = self._chance.choices(SCRIPTS, SCRIPT_WEIGHTS)[0]
        return Call(self._numbers.name(), verb, script, size, at=time.time())

    def _script(self, call: Call) -> str:
        return f"{call.script}-{int(self._chance.expovariate(1 / 800)) % 4000}"

    def _organization(self) -> str:
        return self._chance.choices(list(ORGANIZATIONS), [6, 6, 4, 2, 1])[0]

    def _arguments(self, call: Call) -> dict[str, Any]:
        kind = self._chance.choices(TYPES, WEIGHTS)[0]
        return {
            "type": kind,
            "project_id": self._script(call),
            "user_id": call.name,
            "organization_id": self._organization(),
            "input": INPUTS[kind],
        }

    def _times(self, call: Call) -> dict[str, Any]:
        """Some start later, some may not wait for long, some count as requests."""
        dice = self._chance.random()
        if dice < 0.1:
            return {"run_at": timezone.now() + timedelta(seconds=self._chance.uniform(0, 5))}
        if dice < 0.2:
            call.ttl = self._chance.randint(1, 4)
            return {"ttl": call.ttl, "limit_requests": False}
        return {"limit_requests": dice < 0.4}

    def _submit(self, call: Call, submit: Callable[[], list[Any]], key: str | None) -> None:
        while True:
            made = self._answer(call, submit)
            # Who has a key asks again until there is an answer.
            if call.answer != UNCLEAR or key is None or call.tries >= MOST_TRIES:
                break
            call.tries += 1
            if self._stopping.wait(0.3):
                break
        call.ids = [str(getattr(one, "pk", one)) for one in made]
        self._recent.all.extend(call.ids)
        if call.script == "fail":
            self._recent.broken.extend(call.ids)
        self._book.note(call)

    # Steering.

    def _cancel(self) -> None:
        self._steer("cancel", self._recent.all, queue_manager.cancel)

    def _retry(self) -> None:
        ids = self._recent.broken
        self._steer("retry", ids, lambda pk: queue_manager.retry(pk, limit_requests=False))

    def _reorder(self) -> None:
        priority = self._chance.randint(0, 3)
        ids = self._recent.all
        self._steer("reorder", ids, lambda pk: queue_manager.set_priority(pk, priority))

    def _steer(self, verb: str, ids: "deque[str]", do: Callable[[str], Any]) -> None:
        known = list(ids)
        if not known:
            return
        # The newest are the ones that wait or run.
        task_id = known[-1 - int(self._chance.expovariate(1 / 15)) % len(known)]
        call = Call(self._numbers.name(), verb, ids=[task_id], at=time.time())
        self._answer(call, lambda: [do(task_id)])
        if verb == "cancel":
            self._recent.broken.append(task_id)
        self._book.note(call)

    def _answer(self, call: Call, do: Callable[[], list[Any]]) -> list[Any]:
        try:
            close_old_connections()
            made = do()
        except Unavailable as error:
            call.answer, call.code = UNCLEAR, error.code
        except QueueError as error:
            call.answer, call.code = REFUSED, error.code
        except Exception as error:
            # An error that callers should not get: the verdict asks why.
            call.answer, call.code = UNCLEAR, f"{LEAK} {type(error).__name__}: {error}"[:300]
            connection.close()
        else:
            call.answer, call.code = ACCEPTED, ""
            return made
        return []
