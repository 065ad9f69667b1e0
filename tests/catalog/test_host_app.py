"""A host's app declares its types; its processors are imported by workers and not by the web."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import child_environment

FILES = {
    "podcasts/__init__.py": "",
    "podcasts/models.py": "",
    "podcasts/task_types.py": """
from pydantic import BaseModel
from plugspace_queue import Limiter, task_type

class Audio(BaseModel):
    url: str

class Transcript(BaseModel):
    text: str

TRANSCRIBE = task_type("TRANSCRIBE", input=Audio, output=Transcript, limiter=Limiter(60, per=60))
""",
    "podcasts/processors.py": """
from plugspace_queue import processor

@processor("TRANSCRIBE")
def transcribe(context):
    return {"text": context.input.url.upper()}
""",
    "host.py": """
import sys
from plugspace_queue.conf import connection_config

SECRET_KEY = "x"
USE_TZ = True
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth",
                  "rest_framework", "django_rq", "plugspace_queue", "podcasts"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.path[0] + "/db"}}
ROOT_URLCONF = "plugspace_queue.urls"
PLUGSPACE_QUEUE = {"CATALOGS": ()}
RQ_QUEUES = {"default": connection_config()}
RQ = {"WORKER_CLASS": "plugspace_queue.rq.worker.Worker",
      "JOB_CLASS": "plugspace_queue.rq.job.Job",
      "QUEUE_CLASS": "plugspace_queue.rq.queue.Queue"}
""",
    "manage.py": """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "host"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "web.py": """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "host"
import django
django.setup()
from django.conf import settings
from plugspace_queue import TaskType, queue_manager
from podcasts.task_types import TRANSCRIBE

queue_manager.set_organization("acme", tier="enterprise")
task = queue_manager.add_task(TRANSCRIBE, project_id="p", user_id="u", organization_id="acme",
                              input={"url": "https://example.com"})
print(json.dumps({
    "types": list(TaskType),
    "queues": sorted(settings.RQ_QUEUES),
    "is_default_untouched": "QUEUE_CLASS" not in settings.RQ_QUEUES["default"],
    "processors": "podcasts.processors" in sys.modules,
    "task": str(task.pk),
}))
""",
    "look.py": """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "host"
import django
django.setup()
from plugspace_queue import queue_manager

task = queue_manager.get_task(sys.argv[1])
print(json.dumps({"state": task.state, "result": task.result}))
""",
}


@pytest.fixture
def host(redis: Any, tmp_path: Path) -> Path:
    (tmp_path / "podcasts").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(host: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *words],
        cwd=host,
        env=child_environment(PYTHONPATH=f"{host}:{Path(__file__).parents[2]}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_host_builds_its_own_queue_without_the_seeds(host: Path):
    run(host, "manage.py", "check", "--fail-level", "WARNING")
    run(host, "manage.py", "makemigrations", "--check", "--dry-run")
    run(host, "manage.py", "migrate")
    told = json.loads(run(host, "web.py"))
    assert told.pop("task")
    assert told == {
        "types": ["TRANSCRIBE"],
        "queues": ["default", "transcribe"],
        "is_default_untouched": True,
        "processors": False,
    }

    task = json.loads(run(host, "web.py"))["task"]
    run(host, "manage.py", "rqworker", "transcribe", "--burst")

    ended = json.loads(run(host, "look.py", task))
    assert ended == {"state": "complete", "result": {"text": "HTTPS://EXAMPLE.COM"}}
