"""The work that every system is given: the same input, the same two jobs."""

import asyncio
import json
import time
from collections.abc import Callable
from functools import cache

from benchmarks import records

INPUT_BYTES = 500
NOOP, SLEEP, BUSY = "noop", "sleep", "busy"
SLEEP_SECONDS = 0.1
SLOTS = 50
"""Tasks that a worker process runs at once."""


def payload(job: str, number: int) -> dict[str, str]:
    """An input of 500 bytes as JSON whose first words say what to do."""
    words = f"{job} {number} "
    frame = len(json.dumps({"prompt": ""}))
    return {"prompt": words.ljust(INPUT_BYTES - frame, "x")}


def run(prompt: str, started: int) -> int:
    """Do what the prompt says; its number."""
    job, number, _ = prompt.split(" ", 2)
    if job == SLEEP:
        time.sleep(SLEEP_SECONDS)
    _write()(int(number), started)
    return int(number)


async def run_async(prompt: str, started: int) -> int:
    """The same on an event loop."""
    job, number, _ = prompt.split(" ", 2)
    if job == SLEEP:
        await asyncio.sleep(SLEEP_SECONDS)
    _write()(int(number), started)
    return int(number)


@cache
def _write() -> Callable[[int, int], None]:
    return records.writer()
