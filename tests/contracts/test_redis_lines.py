"""The redis-cli lines of the user's document, typed into a real client while tasks pass by."""

import json
import shutil
import subprocess

import pytest

from plugspace_queue import embedded_redis, queue_manager
from tests.processes.conftest import acme, nothing_is_left, rqworker  # noqa: F401
from tests.support import wait_until
from tests.worker.conftest import fresh, submit

pytestmark = [pytest.mark.usefixtures("acme", "nothing_is_left"), pytest.mark.timeout(120)]


@pytest.fixture
def cli(redis):
    """One line of redis-cli; without the program on PATH the line goes over the socket itself."""
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")

    def type_in(line: str) -> str:
        if program is None:
            answer = redis.execute_command(*line.split())
            return answer.decode() if isinstance(answer, bytes) else str(answer)
        command = [program, "-s", embedded_redis.socket_path(), *line.split()]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return type_in


def test_waiting_running_and_finished_tasks_are_seen_with_the_documented_lines(rqworker, cli):  # noqa: F811
    tasks = [submit(input={"prompt": "hold"}, limit_requests=True) for _ in range(6)]
    first = str(tasks[0].pk)

    assert cli("LLEN plugspace:architect:wait") == "6"
    assert cli("LLEN plugspace:architect:active") == "0"
    assert json.loads(cli(f"GET plugspace:task:{first}"))["status"] == "pending"
    assert cli("GET plugspace:ratelimit:acme") == "6"
    assert cli("TYPE plugspace:architect") == "zset"
    month = f"{tasks[0].queued_at:%Y-%m}"
    assert cli(f"GET plugspace:usage:acme:ARCHITECT:{month}") == "6"
    assert cli("GET plugspace:org:acme:tier") == "enterprise"
    assert cli("ZCARD plugspace:org:acme:tasks") == "6"

    rqworker("architect")
    wait_until(lambda: cli("LLEN plugspace:architect:active") == "5", 10)
    assert cli("LLEN plugspace:architect:wait") == "1"
    wait_until(lambda: json.loads(cli(f"GET plugspace:task:{first}"))["status"] == "processing", 10)
    for task in tasks:
        queue_manager.cancel(task.pk)
    wait_until(lambda: all(fresh(task).is_final for task in tasks), 15)

    done = submit(input={"prompt": "sleep 0"})
    wait_until(lambda: json.loads(cli(f"GET plugspace:task:{done.pk}"))["status"] == "complete", 10)
    assert json.loads(cli(f"GET plugspace:result:{done.pk}:ARCHITECT"))["slept"] == 0
    assert cli("LLEN plugspace:architect:wait") == cli("LLEN plugspace:architect:active") == "0"
    assert json.loads(cli(f"GET plugspace:task:{first}"))["error"]["code"] == "CANCELLED"
