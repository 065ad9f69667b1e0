"""Processors that misbehave: in threads (ARCHITECT, and DEPLOY where time runs out), on the event
loop (DESIGN) and in processes of their own (ANALYZE)."""

import asyncio
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from plugspace_queue import processor
from plugspace_queue.models import Organization, Task


class Abrupt(BaseException):
    """Outside the hierarchy that most code catches."""


@processor("ARCHITECT", output=Any, replace=True, concurrency=4, timeout=30)
def in_thread(context: Any) -> Any:
    return STEPS[context.input.prompt](context)


@processor("DEPLOY", output=Any, replace=True, concurrency=3, timeout=1)
def in_thread_for_a_second(context: Any) -> Any:
    return STEPS[context.input.name.replace("-", "_")](context)


@processor("DESIGN", output=Any, replace=True, concurrency=4, timeout=2)
async def on_loop(context: Any) -> Any:
    return await LOOP_STEPS[context.input.context.mood](context)


@processor("ANALYZE", output=Any, replace=True, isolation="process", concurrency=3, timeout=30)
def alone(context: Any) -> Any:
    return STEPS[context.input.url.rpartition("/")[2]](context)


@processor("CODE", output=Any, replace=True)
def healthy(context: Any) -> Any:
    return {"pid": os.getpid()}


def ok(context: Any) -> Any:
    return {"pid": os.getpid()}


def raise_abruptly(context: Any) -> Any:
    raise Abrupt("out of here")


def call_exit(context: Any) -> Any:
    sys.exit(3)


def recurse(context: Any) -> Any:
    return recurse(context)


def exit_process(context: Any) -> Any:
    os._exit(7)


def print_much(context: Any) -> Any:
    for _ in range(20_000):
        print("x" * 100)
    return "printed"


def return_much(context: Any) -> Any:
    return "x" * 50_000_000


def return_generator(context: Any) -> Any:
    return (number for number in range(3))


def fork_and_return(context: Any) -> Any:
    """The copy comes back from the call as well."""
    child = os.fork()
    return {"child": child}


def fork_and_die(context: Any) -> Any:
    """Dies, while what it forked keeps its files open."""
    if os.fork() == 0:
        time.sleep(30)  # noqa: TID251 -- a process of its own
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def leave_child(context: Any) -> Any:
    """Started something that works on."""
    child = os.fork()
    if child == 0:
        time.sleep(300)  # noqa: TID251 -- a process of its own
        os._exit(0)
    return {"child": child}


def leak_threads(context: Any) -> Any:
    for _ in range(20):
        threading.Thread(target=threading.Event().wait).start()
    return "leaked"


def close_database(context: Any) -> Any:
    connection.ensure_connection()
    if hasattr(connection.connection, "close"):
        connection.connection.close()
    connection.close()
    return Organization.objects.count()


def leave_atomic(context: Any) -> Any:
    transaction.atomic().__enter__()
    Organization.objects.filter(pk="acme").update(name="never committed")
    return "done"


def turn_autocommit_off(context: Any) -> Any:
    transaction.set_autocommit(False)
    Organization.objects.filter(pk="acme").update(name="never committed")
    return "done"


def delete_own_row(context: Any) -> Any:
    Task.objects.filter(pk=context.task_id).delete()
    context.record_usage(tokens=3)
    return "gone"


def change_signals(context: Any) -> Any:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_IGN)
    return "changed"


def exhaust_memory(context: Any) -> Any:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + 64 * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))


def hang_in_c(context: Any) -> Any:
    """A call that lets others run and cannot be interrupted."""
    ctypes.CDLL(None).sleep(60)


def ignore_everything(context: Any) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            threading.Event().wait(0.01)
        except BaseException:
            continue


class Endless(Exception):
    """An error that never comes to the end of what it says."""

    def __str__(self) -> str:
        while True:
            threading.Event().wait(0.01)


class Stubborn(Endless):
    """As well, and nothing stops it."""

    def __str__(self) -> str:
        ignore_everything(None)
        return ""


class EndlessKey:
    """A value whose own words never end."""

    def __repr__(self) -> str:
        return str(Endless())


def raise_endless(context: Any) -> Any:
    raise Endless


def raise_endless_key(context: Any) -> Any:
    raise KeyError(EndlessKey())


def raise_stubborn(context: Any) -> Any:
    raise Stubborn


def return_endless(context: Any) -> Any:
    return {"key": EndlessKey()}


def kill_group(context: Any) -> Any:
    os.killpg(0, signal.SIGKILL)


def take_a_second(context: Any) -> Any:
    threading.Event().wait(1)
    return {"attempt": context.attempt}


def take_a_while(context: Any) -> Any:
    threading.Event().wait(0.3)
    return {"attempt": context.attempt}


STEPS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function
    for function in (
        ok,
        raise_abruptly,
        call_exit,
        recurse,
        exit_process,
        print_much,
        return_much,
        return_generator,
        fork_and_return,
        fork_and_die,
        leave_child,
        leak_threads,
        close_database,
        leave_atomic,
        turn_autocommit_off,
        delete_own_row,
        change_signals,
        exhaust_memory,
        hang_in_c,
        ignore_everything,
        raise_endless,
        raise_endless_key,
        raise_stubborn,
        return_endless,
        kill_group,
        take_a_second,
        take_a_while,
    )
}


async def be_patient(context: Any) -> Any:
    await asyncio.sleep(0.7)
    return {"attempt": context.attempt}


async def block_in_python(context: Any) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pass


async def block_in_c(context: Any) -> Any:
    ctypes.CDLL(None).sleep(60)


async def exit_in_a_task(context: Any) -> Any:
    async def leave() -> None:
        sys.exit(4)

    await asyncio.create_task(leave())


async def stop_the_loop(context: Any) -> Any:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.1)
    return "stopped"


async def cancel_all(context: Any) -> Any:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    return "cancelled"


async def return_coroutine(context: Any) -> Any:
    return be_patient(context)


async def fork_and_return_async(context: Any) -> Any:
    return {"child": os.fork()}


async def raise_endless_async(context: Any) -> Any:
    raise Endless


async def ignore_cancel(context: Any) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue


LOOP_STEPS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function
    for function in (
        be_patient,
        block_in_python,
        block_in_c,
        exit_in_a_task,
        stop_the_loop,
        cancel_all,
        return_coroutine,
        fork_and_return_async,
        raise_endless_async,
        ignore_cancel,
    )
}
