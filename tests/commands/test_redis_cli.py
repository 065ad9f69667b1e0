"""queue_redis_cli: the documented lines work, with redis-cli and without."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from plugspace_queue import embedded_redis, queue_manager
from plugspace_queue.broker import server
from plugspace_queue.management.commands.queue_redis_cli import formatted
from tests.factories import arguments, make_organization
from tests.support import child_environment, wait_until

ROOT = Path(__file__).parents[2]


def cli(*words: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "queue_redis_cli", *words],
        cwd=ROOT,
        env=child_environment(),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def task_id(transactional_db: None) -> str:
    make_organization()
    return str(queue_manager.add_task(**arguments()).pk)


@pytest.mark.slow
def test_the_substitute_answers_the_documented_lines_at_its_prompt(task_id: str):
    lines = ["LLEN plugspace:architect:wait", f"GET plugspace:task:{task_id}", "NONSENSE", "quit"]

    length, task, error = cli("--builtin", given="\n".join(lines)).splitlines()

    assert length == "(integer) 1"
    assert f'\\"id\\":\\"{task_id}\\"' in task
    assert error.startswith("(error) ")


@pytest.mark.slow
def test_one_command_is_answered_and_done(redis: Redis):
    redis.set("plugspace:ratelimit:acme", 7)

    assert cli("--builtin", "GET", "plugspace:ratelimit:acme") == '"7"'


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
@pytest.mark.slow
def test_the_real_redis_cli_is_opened_on_the_database_of_the_queues(redis: Redis):
    redis.set("plugspace:ratelimit:acme", 7)

    assert cli("GET", "plugspace:ratelimit:acme") == "7"


@pytest.mark.slow
def test_shutdown_stops_the_embedded_server(redis: Redis):
    redis.ping()

    cli("--builtin", "shutdown")

    assert not embedded_redis.is_running()
    assert wait_until(server.answers), "the next question starts it again"


def test_a_password_is_handed_over_in_the_environment_only(settings):
    settings.RQ_QUEUES = {"code": {"URL": "rediss://ann:secret@redis.example:6380/3"}}

    words, secrets = server.cli_arguments("code")

    assert words == ["-n", "3", "-h", "redis.example", "-p", "6380", "--user", "ann", "--tls"]
    assert secrets == {"REDISCLI_AUTH": "secret"}


def test_answers_look_like_those_of_redis_cli():
    answer = [b"a", [1, None], {b"k": b'v"'}, []]

    assert list(formatted(answer)) == [
        '1) "a"',
        "2) 1) (integer) 1",
        "   2) (nil)",
        '3) 1) "k"',
        '   2) "v\\""',
        "4) (empty array)",
    ]
