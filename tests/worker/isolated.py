"""Attempts in processes of their own, in this process: started, ended, asked where they ran."""

import multiprocessing
import os
import signal
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
from django.utils import timezone

from plugspace_queue.broker.task_store import Lease
from plugspace_queue.domain.enums import Outcome
from plugspace_queue.models import Task
from plugspace_queue.processing import registry
from plugspace_queue.processing.outcome import Ending
from plugspace_queue.processing.run import Run
from plugspace_queue.worker import child
from plugspace_queue.worker import forkserver as children_forkserver
from plugspace_queue.worker.isolation import ProcessSlots
from plugspace_queue.worker.table import Held
from tests.support import wait_until
from tests.worker.conftest import submit

alone = pytest.mark.parametrize("children", ["tests.processes.alone_settings"], indirect=True)
"""With a processor in the children that tells where its code was loaded."""


class Silent:
    """Takes progress and keeps none of it."""

    def progress(self, run: Run) -> None:
        pass


def run_of(task: Task) -> Run:
    started = {"fence": 1, "timeout": 60.0, "started_at": timezone.now()}
    return Run(task=task, sink=Silent(), **started)  # type: ignore[arg-type]


def slots_for(ended: list[Ending], back: list[Run] | None = None) -> ProcessSlots:
    """Slots that say how attempts ended, and which of them went back before."""
    handed_back = [] if back is None else back
    return ProcessSlots(
        lambda held, ending: ended.append(ending), lambda held, run: handed_back.append(run)
    )


def start(slots: ProcessSlots, run: Run) -> None:
    entry = registry.processor_of("ANALYZE")
    assert entry is not None
    lease = Lease(str(run.task.pk), 1, "e", "acme", 0)
    slots.start(Held("analyze", lease, run), run, entry)


def ending_of(run: Run) -> Ending:
    """How an attempt in a process of its own ends; looked after as by a worker's ticker."""
    ended: list[Ending] = []
    slots = slots_for(ended)
    start(slots, run)

    def has_ended() -> bool:
        slots.look()
        return bool(ended)

    wait_until(has_ended, 60)
    return ended[0]


def analysis(step: str = "tell") -> Run:
    """A run of the isolated processor of `tests.processes.alone`."""
    return run_of(submit("ANALYZE", input={"url": f"https://example.com/{step}"}))


def is_loaded_before(ending: Ending) -> bool:
    assert ending.outcome is Outcome.COMPLETE, ending
    return bool(ending.result["loaded_in"] == ending.result["parent"])


def forkserver_pid() -> int:
    return int(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]


def end_forkserver() -> None:
    """Kill the forkserver; nobody has taken its exit status yet."""
    pid = forkserver_pid()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def child_of(run: Run) -> tuple[BaseProcess, Connection]:
    """A child process, and its parent's end of the line."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    children_forkserver.ensure_ready()
    order = child.Order(run.task, run.fence, run.timeout, run.started_at, run.results)
    process = context.Process(target=child.main, args=(theirs, order), daemon=True)
    process.start()
    theirs.close()
    return process, ours
