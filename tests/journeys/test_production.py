"""The service files of docs/operations.md, run as written: no DEBUG, a URL for everything."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugspace_queue import embedded_redis, queue_manager
from plugspace_queue.models import ApiKey, Organization, Task
from tests.support import child_environment, patient, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120), pytest.mark.slow]

PAGE = Path("docs/operations.md").read_text()
ENVIRONMENT = {
    "DEBUG": "0",
    "SECRET_KEY": "a-long-secret-of-this-test-" + "x" * 32,
    "ALLOWED_HOSTS": "127.0.0.1",
}


def commands() -> list[str]:
    """What systemd and gunicorn are told to run."""
    lines = re.findall(r"^ExecStart=/srv/plugspace/\.venv/bin/(.+)$", PAGE, re.MULTILINE)
    return [*lines, *re.findall(r"`(gunicorn [^`]+)`", PAGE)]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serve(port: int, tmp_path: Path) -> Iterator[object]:
    """Start a command of the page with this test's database, server and port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> "subprocess.Popen[bytes]":
        program, *rest = shlex.split(command.replace("--port 8000", f"--port {port}"))
        if program == "gunicorn":
            rest += ["--bind", f"127.0.0.1:{port}"]
        words = [sys.executable, *(rest if program == "python" else ["-m", program, *rest])]
        url = f"unix://{embedded_redis.socket_path()}?db=0"
        with (tmp_path / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                words,
                env=child_environment(REDIS_URL=url, **ENVIRONMENT),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=patient(10))
    for log in tmp_path.glob("*.log"):
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")


def answers(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}{path}", timeout=patient(5)
        ) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


BODY = b'{"type": "ARCHITECT", "projectId": "p", "input": {"prompt": "A bakery"}}'


def submit(port: int, key: str, body: bytes | Iterator[bytes] = BODY) -> int:
    """A body that is an iterator goes out in chunks, without a length."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/tasks/",
        data=body,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=patient(10)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_names_a_worker_and_both_servers() -> None:
    assert [command.split()[0] for command in commands()] == ["python", "uvicorn", "gunicorn"]


def test_the_drop_in_runs_the_same_worker_on_one_cpu() -> None:
    on_one = r"^ExecStart=/usr/bin/taskset --cpu-list %i /srv/plugspace/\.venv/bin/(.+)$"

    assert re.findall(on_one, PAGE, re.MULTILINE) == [commands()[0]]


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_the_services_of_the_page_serve_work_and_stop(serve, port: int, server: str) -> None:
    queue_manager.set_organization("acme", tier="professional")
    _, key = ApiKey.issue(Organization.objects.get(pk="acme"), ["read", "submit"])
    by_name = {command.split()[0]: command for command in commands()}
    web, worker = serve(by_name[server]), serve(by_name["python"])
    wait_until(lambda: answers(port, "/healthz") == 200, 30, f"{server} does not serve")
    assert answers(port, "/readyz") == 200

    assert submit(port, key, iter([BODY])) == 411
    assert submit(port, key) == 201
    wait_until(lambda: Task.objects.filter(state="complete").exists(), 30)

    for process in (worker, web):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=patient(40)) in (0, -signal.SIGTERM)
