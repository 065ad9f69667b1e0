"""Processors that look whether they are told to stop, or never do, in all three ways."""

import asyncio
import threading
import time
from typing import Any

from plugspace_queue import processor

OPTIONS: dict[str, Any] = {"output": Any, "replace": True, "concurrency": 2, "timeout": 6}
LONG = 60


@processor("ARCHITECT", **OPTIONS)
def in_thread(context: Any) -> Any:
    return work(context, context.input.prompt)


@processor("ANALYZE", isolation="process", **OPTIONS)
def alone(context: Any) -> Any:
    return work(context, context.input.url.rpartition("/")[2])


@processor("DESIGN", **OPTIONS)
async def on_loop(context: Any) -> Any:
    step = context.input.context.mood
    context.report_progress(1)
    until = time.monotonic() + (0 if step == "ok" else LONG)
    is_warned = False
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.02 if step == "listen" else LONG)
        except asyncio.CancelledError:
            # The second one is the hard stop.
            if step == "listen" or is_warned:
                raise
            is_warned = True
    return step


def work(context: Any, step: str) -> str:
    """Go on for a minute, in small steps that an interruption can come between."""
    context.report_progress(1)
    until = time.monotonic() + (0 if step == "ok" else LONG)
    while time.monotonic() < until:
        threading.Event().wait(0.02)
        if step == "listen":
            context.check_cancelled()
    return step
