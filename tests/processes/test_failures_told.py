"""Real workers tell of failures: to the log, to receivers of the signal, and to Sentry."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugspace_queue.models import Task
from tests.factories import INPUTS
from tests.processes.conftest import Start
from tests.support import patient, wait_until
from tests.worker.conftest import submit

pytestmark = [
    pytest.mark.usefixtures("acme", "nothing_is_left"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

SETTINGS = "tests.processes.failing_settings"


def task_of(kind: str, **arguments: Any) -> Task:
    return submit(kind, input=INPUTS[kind], **arguments)


def lines_of(tmp_path: Path) -> list[str]:
    """The whole lines of all logs; of the last one a part may be written by now."""
    texts = [log.read_text() for log in sorted(tmp_path.glob("worker-*.log"))]
    return [line for text in texts for line in text.rpartition("\n")[0].splitlines()]


def records(tmp_path: Path) -> list[dict[str, Any]]:
    """The records of ended attempts in all logs, in the order they were written."""
    told = [json.loads(line) for line in lines_of(tmp_path) if line.startswith("{")]
    return [one for one in told if one["logger"] == "plugspace_queue.tasks"]


def signalled(tmp_path: Path) -> list[list[str]]:
    """What receivers in workers printed: [process, task, exception, whether it is retried]."""
    return [line.split()[1:] for line in lines_of(tmp_path) if line.startswith("signal ")]


def test_each_failed_attempt_is_one_record_one_signal_and_one_event_of_sentry(
    rqworker: Start, tmp_path: Path, until_final: Callable[..., Task]
):
    sentry = tmp_path / "sentry.jsonl"
    worker = rqworker(
        "architect",
        "design",
        "code",
        "analyze",
        "deploy",
        "export",
        settings=SETTINGS,
        LOG_FORMAT="json",
        LOG_LEVEL="INFO",
        TEST_SENTRY=str(sentry),
    )
    kinds = ("ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT")
    tasks = {kind: task_of(kind, max_retries=2 if kind == "DEPLOY" else 0) for kind in kinds}

    rows = {kind: until_final(task, 60) for kind, task in tasks.items()}
    wait_until(lambda: len(records(tmp_path)) >= 9, 10, "an attempt has no record")
    # Each failed attempt is told in this order: to the log, to Sentry, to receivers.
    wait_until(lambda: len(signalled(tmp_path)) >= 8, 10, "a failed attempt has no signal")

    of_kind = {kind: [one for one in records(tmp_path) if one["type"] == kind] for kind in kinds}
    told = {kind: [(one["level"], one["code"]) for one in mine] for kind, mine in of_kind.items()}
    assert told == {
        "ARCHITECT": [("ERROR", "INTERNAL_ERROR")],
        "DESIGN": [("ERROR", "INTERNAL_ERROR")],
        "CODE": [("ERROR", "INTERNAL_ERROR")],
        "ANALYZE": [("WARNING", "WORKER_LOST"), ("ERROR", "WORKER_LOST")],
        "DEPLOY": [("WARNING", "EXTERNAL_SERVICE_ERROR")] * 2 + [("INFO", None)],
        "EXPORT": [("ERROR", "TIMEOUT")],
    }
    for kind, place in (
        ("ARCHITECT", "in in_a_thread"),
        ("DESIGN", "in in_a_coroutine"),
        ("CODE", "in in_a_child"),
        ("EXPORT", "in export"),
    ):
        assert place in of_kind[kind][0]["traceback"]
    assert all(one["worker"] == rows[one["type"]].worker_name for one in records(tmp_path))

    failures = [one for one in records(tmp_path) if one["level"] != "INFO"]
    heard = signalled(tmp_path)
    assert sorted((task, will_retry) for _, task, _, will_retry in heard) == sorted(
        (one["taskId"], str(one["level"] == "WARNING")) for one in failures
    )
    assert {process for process, *_ in heard} == {str(worker.pid)}

    # On a busy machine a worker may have an error of its own, as of a pump that does not turn.
    ids = {str(task.pk) for task in tasks.values()}
    lines = [line for line in sentry.read_text().splitlines() if any(pk in line for pk in ids)]
    events = [json.loads(line) for line in lines]
    assert {event["logger"] for event in events} == {"plugspace_queue.tasks"}
    assert sorted(event["extra"]["taskId"] for event in events) == sorted(
        one["taskId"] for one in failures if one["level"] == "ERROR"
    )


def test_an_attempt_whose_worker_was_killed_is_told_by_the_one_that_takes_it_back(
    rqworker: Start, tmp_path: Path, until_running: Callable[..., Task], until_final: Any
):
    killed = rqworker("architect", LOG_FORMAT="json")
    task = submit(input={"prompt": "stall-once"})
    dead = until_running(task).worker_name
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(timeout=patient(10))

    rqworker("architect", LOG_FORMAT="json")

    until_final(task, 60)
    (record,) = wait_until(lambda: records(tmp_path), 10)
    assert (record["level"], record["code"], record["worker"]) == ("WARNING", "WORKER_LOST", dead)
    assert (record["taskId"], record["attempt"]) == (str(task.pk), 1)


def test_on_a_terminal_a_failure_is_a_line_and_its_traceback(
    rqworker: Start, tmp_path: Path, until_final: Callable[..., Task]
):
    rqworker("architect", settings=SETTINGS)
    task = task_of("ARCHITECT")

    until_final(task, 60)

    def text() -> str:
        return (tmp_path / "worker-0.log").read_text()

    wait_until(lambda: "ValueError: in a thread" in text(), 10)
    (line,) = [line for line in text().splitlines() if str(task.pk) in line and "acme" in line]
    assert line.endswith(
        f"ERROR plugspace_queue.tasks: ARCHITECT task {task.pk} of acme: attempt 1 failed:"
        " INTERNAL_ERROR: in a thread"
    )
    assert "Traceback (most recent call last)" in text()
