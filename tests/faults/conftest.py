"""Crews that work against a server which is not well."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugspace_queue.conf import rq_settings
from plugspace_queue.limits import policies
from plugspace_queue.services import queue_stats
from tests.faults.proxy import Proxy
from tests.processes.conftest import rqworker
from tests.servers import HOST, Node, data_server, free_ports
from tests.worker.conftest import (
    acme,
    children,
    crew,
    processors,
    until_final,
    until_running,
    work,
)

__all__ = [
    "acme",
    "children",
    "crew",
    "processors",
    "rqworker",
    "until_final",
    "until_running",
    "work",
]


@pytest.fixture
def use_port(settings: Any) -> Callable[[int], None]:
    """Let this process find the queues' server on a port of loopback."""

    def use(port: int) -> None:
        settings.RQ_QUEUES, settings.RQ = rq_settings(url=f"redis://{HOST}:{port}/0")
        policies.clear_cache()
        queue_stats.clear_cache()

    return use


@pytest.fixture
def server_on_disk(tmp_path: Path, use_port: Callable[[int], None]) -> Iterator[Node]:
    """A server that writes what it is told to a file, as docs/operations.md says."""
    (port,) = free_ports(1)
    node = data_server(tmp_path, port, appendonly="yes", appendfsync="everysec")
    node.start()
    use_port(port)
    yield node
    node.kill()
    node.client.close()


@pytest.fixture
def slow_server(use_port: Callable[[int], None]) -> Iterator[Proxy]:
    """The test's server, 50 ms away."""
    with Proxy(delay=0.05) as proxy:
        use_port(proxy.port)
        yield proxy
