"""The demo's ANALYZE reads what strangers made in a process of its own."""

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from tests.agents.web import Web, running_web, text
from tests.processes.conftest import Start
from tests.support import patient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="asks /proc who is connected"),
]

STYLES = "<title>slow</title><style>" + ":a" * 1_000_000


@pytest.fixture
def web() -> Iterator[Web]:
    with running_web() as running:
        yield running


def owner(port: int) -> int:
    """The process that holds the connection with this port at its own end."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].rpartition(":")[2], 16) == port:
            return next(_holders(f"socket:[{words[9]}]"))
    raise AssertionError(f"nobody is connected from port {port}")


def _holders(link: str) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) == link:
                yield int(entry.parts[2])
        except OSError:
            continue


def test_a_hostile_page_is_reported_on_by_a_child_and_not_by_its_worker(
    acme: str, rqworker: Start, web: Web, until_final: Callable[..., Task]
):
    asked_by: list[int] = []
    seen = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked_by.append(owner(handler.client_address[1]))
        seen.set()
        text(STYLES)(handler)

    web.pages["/"] = answer
    worker = rqworker("analyze", settings="project.settings", ANALYZE_ALLOW_PRIVATE="1")
    task = queue_manager.add_task(
        "ANALYZE",
        project_id="p",
        user_id="u",
        organization_id=acme,
        input={"url": f"{web.url}/"},
    )

    assert seen.wait(patient(60))
    assert asked_by[0] not in (worker.pid, os.getpid())
    done = until_final(task, 60)
    assert done.state == State.COMPLETE, done.error
    assert done.result["title"] == "slow"
