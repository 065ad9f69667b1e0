"""Processors in a thread (ARCHITECT), on the event loop (DESIGN, and CODE where time runs out) and
in processes of their own (ANALYZE sync, EXPORT async), which wait for files and write down what
they see.

The directory `TEST_GATES` is shared with the test: a processor waits until the file `<name>` is
there, and appends words to the file `<name>.seen`.
"""

import asyncio
import ctypes
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugspace_queue import processor

GATES = Path(os.environ.get("TEST_GATES", "."))
STEP = 0.02
OPTIONS: dict[str, Any] = {"output": Any, "replace": True}


@processor("ARCHITECT", **OPTIONS)
def in_thread(context: Any) -> Any:
    return of(SYNC, context)


@processor("ANALYZE", isolation="process", **OPTIONS)
def alone(context: Any) -> Any:
    return of(SYNC, context)


@processor("DESIGN", concurrency=4, **OPTIONS)
async def on_loop(context: Any) -> Any:
    return await of(ASYNC, context)


@processor("CODE", timeout=3, concurrency=2, **OPTIONS)
async def on_loop_for_three_seconds(context: Any) -> Any:
    return await of(ASYNC, context)


@processor("EXPORT", isolation="process", **OPTIONS)
async def alone_on_loop(context: Any) -> Any:
    return await of(ASYNC, context)


def of(steps: dict[str, Callable[[Any, str], Any]], context: Any) -> Any:
    """What the step does that the task's only remark names, with the gate that it names."""
    step, name = context.feedback[0].split()
    return steps[step](context, name)


def is_open(name: str) -> bool:
    return (GATES / name).exists()


def see(name: str, *words: str) -> None:
    with (GATES / f"{name}.seen").open("a") as seen:
        seen.write("".join(f"{word}\n" for word in words))


def attempt_and_pid(context: Any) -> dict[str, int]:
    return {"attempt": context.attempt, "pid": os.getpid()}


# Sync.


def wait(context: Any, name: str) -> Any:
    while not is_open(name):
        threading.Event().wait(STEP)
    return attempt_and_pid(context)


def look(context: Any, name: str) -> Any:
    """Write down when it is asked to stop, and what a check raises; end when the gate opens."""
    see(name, "begun")
    is_asked = goes_on = False
    while not is_open(name):
        if context.should_stop and not is_asked:
            is_asked = True
            see(name, "should_stop")
        raise_if_cancelled(context, name)
        if is_asked and not goes_on:
            goes_on = True
            see(name, "goes_on")
        threading.Event().wait(STEP)
    return attempt_and_pid(context)


def raise_if_cancelled(context: Any, name: str) -> None:
    try:
        context.check_cancelled()
    except Exception as error:
        see(name, type(error).__name__)
        raise


def return_when_asked(context: Any, name: str) -> Any:
    see(name, "begun")
    while not context.should_stop:
        threading.Event().wait(STEP)
    see(name, "should_stop")
    return attempt_and_pid(context)


SYNC: dict[str, Callable[[Any, str], Any]] = {
    one.__name__: one for one in (wait, look, return_when_asked)
}


# Async.


async def await_gate(context: Any, name: str) -> Any:
    see(name, f"begun {context.attempt}")
    while not is_open(name):
        await asyncio.sleep(STEP)
    return attempt_and_pid(context)


async def ignore_cancel(context: Any, name: str) -> Any:
    """Each cancel is written down and nothing else."""
    see(name, f"begun {context.attempt}")
    while not is_open(name):
        try:
            await asyncio.sleep(STEP)
        except asyncio.CancelledError:
            see(name, "cancelled")
    see(name, f"done {context.attempt}")
    return attempt_and_pid(context)


async def return_when_cancelled(context: Any, name: str) -> Any:
    see(name, "begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        see(name, "should_stop" if context.should_stop else "-", "cancelled")
        await asyncio.sleep(STEP)
    return attempt_and_pid(context)


async def look_async(context: Any, name: str) -> Any:
    """As `look`; a cancel that comes from outside is written down as well."""
    see(name, "begun")
    is_asked = False
    try:
        while not is_open(name):
            if context.should_stop and not is_asked:
                is_asked = True
                see(name, "should_stop")
            await asyncio.sleep(STEP)
    except asyncio.CancelledError:
        see(name, "cancelled")
        raise
    return attempt_and_pid(context)


async def block(context: Any, name: str) -> Any:
    """Block the loop until the gate opens, then await as a coroutine should."""
    see(name, f"begun {context.attempt}")
    while not is_open(name):
        time.sleep(STEP)  # noqa: TID251 -- what it is here for
    await asyncio.sleep(STEP)
    return attempt_and_pid(context)


async def block_in_a_helper(context: Any, name: str) -> Any:
    """The same in a task that it made."""
    return await asyncio.create_task(block(context, name))


async def block_in_a_callback(context: Any, name: str) -> Any:
    """The first attempt schedules a callback that blocks the loop after it has returned."""
    if context.attempt == 1:
        asyncio.get_running_loop().call_soon(_block_now, name)
    await asyncio.sleep(STEP)
    return await await_gate(context, name)


def _block_now(name: str) -> None:
    see(name, "blocks")
    while True:
        time.sleep(STEP)  # noqa: TID251 -- what it is here for


async def block_in_c(context: Any, name: str) -> Any:
    see(name, f"begun {context.attempt}")
    ctypes.CDLL(None).sleep(600)


async def work_in_steps(context: Any, name: str) -> Any:
    """Block the loop 12 times for a short time, for longer than a lease in all."""
    see(name, f"begun {context.attempt}")
    for _ in range(12):
        time.sleep(0.3)  # noqa: TID251 -- what it is here for
        await asyncio.sleep(0)
    return attempt_and_pid(context)


ASYNC: dict[str, Callable[[Any, str], Any]] = {
    one.__name__: one
    for one in (
        await_gate,
        ignore_cancel,
        return_when_cancelled,
        look_async,
        block,
        block_in_a_helper,
        block_in_a_callback,
        block_in_c,
        work_in_steps,
    )
}
