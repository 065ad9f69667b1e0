"""What a run of tasks leaves behind, with everything replaced that differs from run to run.

Texts are kept as they went out, so that a change of one byte of an event, a copy or a result shows.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import signals
from plugspace_queue.broker import keys, task_store
from plugspace_queue.broker.types import Settlement
from plugspace_queue.models import MonthlyUsage, QueueSettings, Task, UsageEntry
from tests.contracts.submits import LATER

MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(Z|\+00:00)")
OTHER_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DURATION = re.compile(r'"duration":\d+')
KEY = re.compile(r":(0|\d{16}):(task\w+):\d{16}")
REPLACED = {"fence": "<fence>", "due_ms": "<ms>", "duration": "<ms>", "stack": "<stack>"}
"""Values that differ from run to run, unless they are nothing."""


class Recording:
    """Settlements, signals and log records of the run, and names for its tasks."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.names: dict[str, str] = {}
        self.settlements: list[Settlement] = []
        self.signals: list[tuple[str, str, str]] = []
        self._caplog = caplog

    def name(self, **tasks: Task) -> None:
        """Call these tasks so in what is recorded."""
        for name, task in tasks.items():
            self.names[str(task.pk)] = name
            self.names[task.pk.hex] = name

    def result(self, redis: Redis) -> dict[str, Any]:
        """Everything that was left behind, by the name of its task."""
        ids = [task_id for task_id in self.names if "-" in task_id]
        return {self.names[task_id]: self._of_task(task_id, redis) for task_id in ids} | {
            "usage": [_fields(row) for row in MonthlyUsage.objects.all()],
            "counts": {
                row.type: [row.completed, row.failed]
                for row in QueueSettings.objects.order_by("type")
                if row.completed or row.failed
            },
        }

    def _of_task(self, task_id: str, redis: Redis) -> dict[str, Any]:
        task = Task.objects.get(pk=task_id)
        attempts = task.attempts.order_by("number", "fence")
        result = redis.get(keys.result(task_id, task.type))
        return {
            "row": self._told(_fields(task)),
            "attempts": [self._told(_fields(one)) for one in attempts],
            "ledger": [
                self._told(_fields(one))
                for one in UsageEntry.objects.filter(task=task).order_by("id")
            ],
            "copy": self._text(redis.get(keys.task(task_id))),
            "result": self._text(result),
            "events": self._events(task_id, redis),
            "settlements": [
                self._told(one._asdict())
                for one in self.settlements
                # How often a lease is handed back before its row can start is a matter of time.
                if one.task_id == task_id and (one.counted or one.outcome != "back")
            ],
            "signals": [[name, kind] for of, name, kind in self.signals if of == task_id],
            **self._logs(task_id),
        }

    def _events(self, task_id: str, redis: Redis) -> list[str | None]:
        texts = [fields[b"event"] for _, fields in redis.xrange(keys.events())]
        return [self._text(text) for text in texts if json.loads(text)["jobId"] == task_id]

    def _logs(self, task_id: str) -> dict[str, list[Any]]:
        records = [one for one in self._caplog.records if getattr(one, "taskId", "") == task_id]
        ended = [one for one in records if hasattr(one, "retryCount")]
        return {
            "states": [getattr(one, "state", "") for one in records if hasattr(one, "state")],
            "records": [
                [one.levelname, self._text(one.getMessage()), one.code, one.worker, one.retryCount]
                for one in ended
            ],
        }

    def _told(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._value(name, value) for name, value in fields.items()}

    def _value(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in REPLACED or isinstance(value, datetime):
            return REPLACED.get(name, "<time>") if value != 0 or name == "duration" else 0
        if isinstance(value, list | tuple):
            return [self._value("", one) for one in value]
        if isinstance(value, dict):
            return self._told(value)
        return self._text(value) if isinstance(value, str) else _plain(value)

    def _text(self, text: Any) -> str | None:
        if text is None:
            return None
        told = text.decode() if isinstance(text, bytes) else str(text)
        for task_id, name in self.names.items():
            told = told.replace(task_id, f"<{name}>")
        told = OTHER_ID.sub("<id>", told)
        told = MOMENT.sub(r"<time\1>", told)
        told = DURATION.sub('"duration":<ms>', told)
        return _shortened(KEY.sub(_key, told))


def _key(match: re.Match[str]) -> str:
    fence = "0" if match[1] == "0" else "<fence>"
    return f":{fence}:{match[2]}:<queued>"


def _shortened(text: str) -> str:
    """A long run of one letter as its length: large values stay readable in the file."""
    return re.sub(r"(x{50,})", lambda match: f"<{len(match[1])} x>", text)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.8f}"
    return value if isinstance(value, int | float | list) else str(value)


def _fields(row: Any) -> dict[str, Any]:
    fields = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    left_out = {"id", "task_id", "workflow_id", "version", "month", "charged_month", *LATER}
    return {name: value for name, value in fields.items() if name not in left_out}


@contextmanager
def recorded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recording]:
    """Record what is settled, signalled and logged within."""
    caplog.set_level("DEBUG", "plugspace_queue.tasks")
    recording = Recording(caplog)
    settle = task_store.settle

    def note(queue: str, settlements: Iterable[Settlement]) -> Any:
        settlements = list(settlements)
        recording.settlements += settlements
        return settle(queue, settlements)

    def hear(sender: Any, **told: Any) -> None:
        name = told["payload"]["name"] if "payload" in told else "task_attempt_failed"
        task_id = str(told["task"].pk) if "task" in told else told["task_id"]
        kind = str(told["task"].state) if "task" in told else type(told["exception"]).__name__
        recording.signals.append((task_id, name, kind))

    monkeypatch.setattr(task_store, "settle", note)
    heard = [*signals.SIGNALS.values(), signals.task_attempt_failed]
    for signal in heard:
        signal.connect(hear)
    try:
        yield recording
    finally:
        for signal in heard:
            signal.disconnect(hear)
