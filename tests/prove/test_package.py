"""The package as it is uploaded, and what importing it costs a host project."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import took

pytestmark = pytest.mark.prove

ROOT = Path(__file__).parents[2]
ROUNDS = 9
MOST = 0.35
"""Seconds of processor time that our app may add to `django.setup()`."""

HOST = """
import sys, time
from django.conf import settings

queues = dict(RQ_QUEUES={"default": {"URL": "redis://localhost/0"}})
ours = sys.argv[1:]
if ours:
    from plugspace_queue.conf import rq_settings
    queues = dict(zip(("RQ_QUEUES", "RQ"), rq_settings(url="redis://localhost/0")))
of_django = ["admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"]
settings.configure(
    INSTALLED_APPS=[*(f"django.contrib.{name}" for name in of_django),
                    "rest_framework", "django_rq", *ours],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    **queues,
)
import django
django.setup()
print(time.process_time())
"""


def test_wheel_and_sdist_pass_the_checks_of_an_upload(tmp_path: Path):
    def run(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("build", "--no-isolation", "--outdir", str(tmp_path))
    files = sorted(map(str, tmp_path.iterdir()))

    said = run("twine", "check", "--strict", *files)

    assert [Path(file).suffix for file in files] == [".whl", ".gz"]
    assert said.count("PASSED") == len(files)


def test_the_app_adds_little_to_the_start_of_a_project():
    setup_time("plugspace_queue")  # Compiles what is not compiled yet.

    added = [setup_time("plugspace_queue") - setup_time() for _ in range(ROUNDS)]

    what = f"processor time of our app in django.setup(), median of {ROUNDS}"
    took(statistics.median(added), MOST, what)


def setup_time(*apps: str) -> float:
    """Processor seconds of a process that sets up a project with REST framework, RQ and these."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", HOST, *apps],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
