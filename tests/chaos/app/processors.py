"""Six processors whose project id says what to do: `work-300`, `busy-200`, `fail-50`, `crash-0`.

The number is milliseconds. All kinds of slots are used: threads, the event loop, child processes.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from plugspace_queue import errors, processor
from tests.chaos import journal
from tests.chaos.clocks import BEAT
from tests.workflows.examples import ARCHITECTURE, DESIGN

CODE = {
    "summary": "One page.",
    "name": "Shop",
    "entry": "index.html",
    "files": [
        {
            "path": "index.html",
            "content": "",
            "mediaType": "text/html",
            "bytes": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        }
    ],
    "bytes": 0,
}

WIDE = {"max": 100_000, "duration": 60}


def beats(context: Any, pen: journal.Pen) -> Iterator[float]:
    """Do what the project id says; yields how long to work until the next look."""
    word, milliseconds = context.project_id.split("-")
    until = time.monotonic() + int(milliseconds) / 1000
    while (left := until - time.monotonic()) > 0:
        context.check_cancelled()
        pen.write("beat")
        yield min(left, BEAT)
    ends(word, context)


def ends(word: str, context: Any) -> None:
    """The end that was asked for, if it is not a good one."""
    if word == "busy" and context.attempt == 1:
        raise errors.ExternalServiceError("busy")
    if word == "fail":
        raise errors.ValidationFailed("as asked")
    if word == "crash":
        os.kill(os.getpid(), signal.SIGKILL)


def labour(context: Any) -> None:
    """Work in this thread."""
    with journal.execution(context.task_id, context.attempt) as pen:
        for seconds in beats(context, pen):
            threading.Event().wait(seconds)
        context.record_usage(tokens=1)


async def async_labour(context: Any) -> None:
    """Work on the loop."""
    with journal.execution(context.task_id, context.attempt) as pen:
        for seconds in beats(context, pen):
            await asyncio.sleep(seconds)
        context.record_usage(tokens=1)


@processor("ARCHITECT", output=Any, replace=True, limiter=WIDE)
def architect(context: Any) -> Any:
    labour(context)
    return ARCHITECTURE


@processor("DESIGN", output=Any, replace=True, limiter=WIDE)
async def design(context: Any) -> Any:
    await async_labour(context)
    return DESIGN


@processor("CODE", output=Any, replace=True, limiter=WIDE, isolation="process")
def code(context: Any) -> Any:
    labour(context)
    return CODE


@processor("ANALYZE", output=Any, replace=True, limiter=WIDE)
async def analyze(context: Any) -> Any:
    context.report_progress(50, stage="half")
    await async_labour(context)
    return {"number": context.attempt}


@processor("DEPLOY", output=Any, replace=True, limiter={"max": 10, "duration": 5})
def deploy(context: Any) -> Any:
    labour(context)
    return {"number": context.attempt}


@processor("EXPORT", output=Any, replace=True, limiter=WIDE)
def export(context: Any) -> Any:
    context.report_progress(50, stage="half")
    labour(context)
    return {"number": context.attempt}
