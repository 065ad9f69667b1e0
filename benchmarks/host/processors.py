"""The processor that is measured: a plain function, or a coroutine when BENCH_STYLE says async."""

import os
import time
from typing import Any

from benchmarks import job
from plugspace_queue import errors, processor

SLOTS = job.SLOTS


def in_a_thread(context: Any) -> Any:
    """A plain function: it runs in a thread of the worker."""
    started = time.monotonic_ns()
    fail_once(context)
    return job.run(context.input.prompt, started)


async def on_the_loop(context: Any) -> Any:
    """A coroutine: it runs on the worker's event loop."""
    started = time.monotonic_ns()
    fail_once(context)
    return await job.run_async(context.input.prompt, started)


def fail_once(context: Any) -> None:
    """The first attempt of a busy task ends with what is tried again."""
    if context.attempt == 1 and context.input.prompt.startswith(job.BUSY):
        raise errors.ExternalServiceError(job.BUSY)


is_async = os.environ.get("BENCH_STYLE") == "async"
processor("ARCHITECT", output=Any, replace=True)(on_the_loop if is_async else in_a_thread)
