"""The demo's server and processes started, watched and stopped together."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from plugspace_queue import TaskType
from plugspace_queue.conf import embedded_redis
from project.demo import environment, web
from project.demo.interrupts import Interrupts
from project.demo.processes import Children


class DemoSystem:
    """Holds the child processes; knows the port of the web process."""

    def __init__(self, interrupts: Interrupts, logs: Path) -> None:
        self._interrupts = interrupts
        self.logs = logs
        self.children = Children(logs, child_environment())
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The embedded server inside, nothing of ours afterwards, whatever happens."""
        is_our_server = False
        try:
            with self._interrupts.held():
                is_our_server = environment.start_embedded()
            yield
        finally:
            with self._interrupts.held():
                self.children.stop()
                if is_our_server:
                    embedded_redis.stop()

    def start(self, port: int, workers: int) -> None:
        """Start the web process on `port` (or a free one) and the workers."""
        with web.open_socket(port) as opened, self._interrupts.held():
            self.port = int(opened.getsockname()[1])
            descriptor = opened.fileno()
            arguments = (web.__name__, asgi_path(), str(descriptor))
            self.children.start("web", *arguments, pass_fds=[descriptor])
            queues = [task_type.queue_name for task_type in TaskType]
            for number in range(1, workers + 1):
                self.children.start(f"worker-{number}", "django", "rqworker", *queues)


def asgi_path() -> str:
    """The project's ASGI application as uvicorn names it: module:attribute."""
    module, _, attribute = settings.ASGI_APPLICATION.rpartition(".")
    return f"{module}:{attribute}"


def child_environment() -> dict[str, str]:
    """Ours, so that child processes find the same modules; ANALYZE may read the demo's own site."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return os.environ | {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "ANALYZE_ALLOW_PRIVATE": "1",
    }
