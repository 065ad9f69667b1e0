"""What docs/deployment.md tells to run, run as written: no DEBUG, a URL for everything."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from plugspace_queue import embedded_redis, queue_manager
from plugspace_queue.conf import get_settings
from plugspace_queue.models import ApiKey, Organization, Task
from tests.support import child_environment, patient, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120), pytest.mark.slow]

PAGE = Path("docs/deployment.md").read_text()
ENVIRONMENT = {
    "DEBUG": "0",
    "SECRET_KEY": "a-long-secret-of-this-test-" + "x" * 32,
    "ALLOWED_HOSTS": "127.0.0.1",
}


def commands() -> list[str]:
    """What systemd and gunicorn are told to run."""
    lines = re.findall(r"^ExecStart=/srv/plugspace/\.venv/bin/(.+)$", PAGE, re.MULTILINE)
    return [*lines, *re.findall(r"`(gunicorn [^`]+)`", PAGE)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(port: int, tmp_path: Path) -> Iterator[object]:
    """Start a command of the page with this test's database, server and port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> "subprocess.Popen[bytes]":
        program, *rest = shlex.split(command.replace("--port 8000", f"--port {port}"))
        if program == "gunicorn":
            rest += ["--bind", f"127.0.0.1:{port}"]
        words = [program, *rest]
        if program != "nginx":
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


def block(language: str) -> str:
    """The only block of the page in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_containers_run_the_commands_of_the_services() -> None:
    services = yaml.safe_load(block("yaml"))["services"]
    (of_web,) = re.findall(r"^CMD (\[.*\])$", block("dockerfile"), re.MULTILINE)
    worker, web, _ = commands()

    assert services["worker"]["command"] == shlex.split(worker)
    # The container is reached from outside, and a platform starts several of it.
    assert json.loads(of_web) == shlex.split(
        web.replace("127.0.0.1", "0.0.0.0").replace("--workers 4 ", "")
    )
    assert services["migrate"]["command"] == ["python", "manage.py", "migrate"]


def test_supervisors_wait_for_longer_than_the_grace_time() -> None:
    seconds = re.findall(r"(?:TimeoutStopSec=|stop_grace_period: )(\d+)", PAGE)

    assert len(seconds) == 2
    assert min(map(int, seconds)) > get_settings().shutdown_grace


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed here")
def test_behind_the_proxy_of_the_page_chunks_are_collected_and_events_come_at_once(
    serve, port: int, tmp_path: Path
) -> None:
    queue_manager.set_organization("acme", tier="professional")
    _, key = ApiKey.issue(Organization.objects.get(pk="acme"), ["read", "submit"])
    proxy = free_port()
    server = block("nginx").replace("listen 80;", f"listen 127.0.0.1:{proxy};")
    server = server.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace(
        "server_name queue.example.com;", "server_name 127.0.0.1;"
    )
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, server=server))
    serve(commands()[1])
    wait_until(lambda: answers(port, "/readyz") == 200, 30, "uvicorn does not serve")
    serve(f"nginx -e {tmp_path}/nginx.log -c {config}")
    wait_until(lambda: answers(proxy, "/readyz") == 200, 30, "nginx does not serve")

    assert submit(proxy, key, iter([BODY])) == 201

    request = urllib.request.Request(
        f"http://127.0.0.1:{proxy}/api/v1/tasks/{Task.objects.get().pk}/events/",
        headers={"Authorization": f"Bearer {key}", "Accept": "text/event-stream"},
    )
    with urllib.request.urlopen(request, timeout=patient(10)) as stream:
        # The stream goes on: what is not passed on at once would not be read in time.
        assert b"event: taskAdded\n" in iter(stream.readline, b"")
