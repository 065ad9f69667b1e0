"""Every submit and every refusal, recorded: what is answered, and what it leaves in SQL and Redis.

A recording is plain data without ids and times, so that two revisions can be compared.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from unittest.mock import patch

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis
from redis.connection import AbstractConnection

from plugspace_queue import queue_manager, signals
from plugspace_queue.broker import scripts
from plugspace_queue.errors import QueueError
from plugspace_queue.models import (
    Dependency,
    IdempotencyKey,
    MonthlyUsage,
    Task,
    UsageEntry,
    Workflow,
)

TABLES = (Workflow, Task, Dependency, IdempotencyKey, MonthlyUsage, UsageEntry)
SIGNALS = {name: getattr(signals, name) for name in vars(signals) if name.startswith("task_")}

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")
DATE = re.compile(r"\b20\d\d-\d\d(-\d\d)?\b")
QUEUED = re.compile(r"(:taskAdded:)\d+")
KEY = re.compile(r"key:psq_[\w-]+")
COUNTERS = b"plugspace:metrics"
LATER = {"kind_version", "step_name", "may_fail", "has_input_from"}
"""Columns that are newer than the recordings; tests/workflows tells what is in them."""
TEXTS = {"message", "msg", "detail"}
HASH = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass
class Recorder:
    """Collects what happens, with ids as the order in which they were seen."""

    redis: Redis
    ids: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    costs: list[dict[str, int]] = field(default_factory=list)

    def step(self, name: str, act: Callable[[], Any]) -> Any:
        """Do something, and record its answer and its cost."""
        told: dict[str, Any] = {"step": name}
        answer = None
        with measured() as cost, heard() as sent:
            try:
                answer = act()
                told["answer"] = answer_of(answer)
            except QueueError as error:
                told["refused"] = {
                    "error": type(error).__name__,
                    "code": error.code,
                    "message": error.message,
                    "details": error.details,
                }
        told["signals"] = sent
        self.steps.append(self.plain(told))
        self.costs.append(cost)
        return answer

    def recording(self) -> dict[str, Any]:
        """All steps, and what is in SQL and Redis at the end."""
        return {
            "steps": self.steps,
            "rows": {model.__name__: self.plain(rows_of(model)) for model in TABLES},
            "redis": self.plain(dump(self.redis)),
        }

    def plain(self, value: Any) -> Any:
        """The value without ids, times and hashes; of texts for people only their shape."""
        text = json.dumps(shaped(value), default=str, sort_keys=True, ensure_ascii=False)
        text = KEY.sub("key:<prefix>", UUID.sub(self._named, text))
        text = QUEUED.sub(r"\1<queued>", TIME.sub("<time>", text))
        return json.loads(HASH.sub("<hash>", DATE.sub("<date>", text)))

    def _named(self, match: re.Match[str]) -> str:
        return self.ids.setdefault(match[0], f"<id {len(self.ids) + 1}>")


def shaped(value: Any) -> Any:
    """The value with texts for people cut to what a program may rely on."""
    if isinstance(value, dict):
        return {name: text_shape(name, part) for name, part in value.items()}
    return [shaped(part) for part in value] if isinstance(value, list) else value


def text_shape(name: str, value: Any) -> Any:
    if name == "retry_after":
        return "<seconds>"
    if name not in TEXTS or not isinstance(value, str):
        return shaped(value)
    place, separator, _ = value.partition(": ")
    return f"{place}: <text>" if separator and " " not in place else "<text>"


def answer_of(answer: Any) -> Any:
    """What a caller gets, as data."""
    if isinstance(answer, list):
        return [answer_of(part) for part in answer]
    if isinstance(answer, Task):
        return {"task": str(answer.pk), "state": str(answer.state), "priority": answer.priority}
    if hasattr(answer, "subject"):
        return {"is_replay": answer.is_replay, **answer_of(answer.subject)}
    if hasattr(answer, "workflow_id"):
        ids = [str(task_id) for task_id in answer.task_ids]
        return {
            "workflow": str(answer.workflow_id),
            "tasks": ids,
            "is_replay": answer.is_replay,
        }
    headers = {
        name: "<seconds>" if name in ("Retry-After", "RateLimit-Reset") else answer[name]
        for name in ("Location", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining")
        if answer.has_header(name)
    }
    body = answer.json()
    if "retryAfter" in body:
        body["retryAfter"] = "<seconds>"
    return {"status": answer.status_code, "headers": headers, "body": body}


def rows_of(model: Any) -> list[dict[str, Any]]:
    """All rows of a table; columns with nothing in them are left out."""
    order = "pk" if model in (Task, Workflow) else "id"
    left_out = {"id", *LATER}
    names = [one.attname for one in model._meta.concrete_fields if one.name not in left_out]
    if model in (Task, Workflow):
        names.insert(0, "id")
    rows = model.objects.order_by(order).values(*names)
    return [{name: shown(row[name]) for name in names if row[name] is not None} for row in rows]


def shown(value: Any) -> Any:
    """A value of a row as data; a time far off as such."""
    if isinstance(value, datetime):
        return "<later>" if value > timezone.now().astimezone(UTC) else "<time>"
    return value


def dump(redis: Redis) -> dict[str, Any]:
    """Every key of the queue's database with what it holds."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": lambda key: told(redis.get(key)),
        b"list": lambda key: [told(one) for one in redis.lrange(key, 0, -1)],
        b"set": lambda key: sorted(told(one) for one in redis.smembers(key)),
        b"zset": lambda key: [told(one) for one in redis.zrange(key, 0, -1)],
        b"hash": lambda key: hash_of(redis, key),
        b"stream": lambda key: [
            {told(name): told(value) for name, value in fields.items()}
            for _, fields in redis.xrange(key)
        ],
    }
    found = {told(key): readers[redis.type(key)](key) for key in sorted(redis.keys())}
    # Written by a thread of their own, at any time.
    found.pop("plugspace:metrics", None)
    # Also written for a queue without tasks, when a process first gives it its settings.
    return {name: value for name, value in found.items() if not name.endswith(":marker")}


def hash_of(redis: Redis, key: bytes) -> dict[str, Any]:
    """A hash; numbers that are times are left out."""
    pairs = {told(name): told(value) for name, value in redis.hgetall(key).items()}
    return {name: "<ms>" if is_time(value) else value for name, value in sorted(pairs.items())}


def is_time(value: Any) -> bool:
    return isinstance(value, int) and value > 10**11


def told(value: Any) -> Any:
    """Bytes as JSON data where they are, else as text."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


@contextmanager
def measured() -> Iterator[dict[str, int]]:
    """How many statements are sent to SQL, and how often something is sent to Redis."""
    cost = {"sql": 0, "redis": 0}
    send = AbstractConnection.send_packed_command

    def counted(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        # Counts of tasks are sent once a second, by whoever comes then.
        cost["redis"] += COUNTERS not in (b"".join(command) if isinstance(command, list) else b"")
        return send(self, command, *args, **kwargs)

    with (
        CaptureQueriesContext(connection) as queries,
        patch.object(AbstractConnection, "send_packed_command", counted),
    ):
        yield cost
    cost["sql"] = len(queries)


@contextmanager
def heard() -> Iterator[list[str]]:
    """The names of the signals that are sent."""
    names: list[str] = []
    receivers = {}
    for name, signal in SIGNALS.items():

        def note(name: str = name, **kwargs: Any) -> None:
            names.append(name)

        receivers[name] = note
        signal.connect(note, weak=False)
    try:
        yield names
    finally:
        for name, receiver in receivers.items():
            SIGNALS[name].disconnect(receiver)


def load_scripts(redis: Redis) -> None:
    """Have the server know every script, so that it is not the first caller who sends them."""
    for file in resources.files("plugspace_queue.broker.lua").iterdir():
        name, _, suffix = file.name.rpartition(".")
        if suffix == "lua" and not name.startswith("_"):
            redis.script_load(scripts.source(name))


def add(**changes: Any) -> Any:
    """Submit one task, as the API does."""
    limit = changes.pop("limit_requests", True)
    return queue_manager.submit_task(arguments(**changes), limit_requests=limit)


def add_all(*items: dict[str, Any], key: str | None = None) -> Any:
    """Submit a bulk."""
    given = [arguments(**item) for item in items]
    return queue_manager.submit_tasks(given, idempotency_key=key)


def start(**changes: Any) -> Any:
    """Submit a workflow."""
    return queue_manager.add_workflow(
        **{
            "project_id": "site",
            "user_id": "ann",
            "organization_id": "acme",
            "input": {"prompt": "A bakery"},
            **changes,
        }
    )


def arguments(**changes: Any) -> dict[str, Any]:
    """Valid arguments of a submit."""
    return {
        "type": "ARCHITECT",
        "project_id": "site",
        "user_id": "ann",
        "organization_id": "acme",
        "input": {"prompt": "A bakery"},
        **changes,
    }
