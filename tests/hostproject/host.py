"""Builds the wheel, a fresh environment, and in it the shop; runs what is the shop's."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from tests.servers import data_server, free_ports
from tests.support import patient, wait_until
from tests.tooling.pages import ROOT
from tests.tooling.walkthrough import Walkthrough

SITE = Path(__file__).parent / "site"
HOWTO = ROOT / "docs" / "howto"
DATABASE = "shop"
ON_PAGE = "redis://localhost:6379/0"
INSTALLED = "plugspace_queue["
HAD = ("django", "djangorestframework", "django-rq", "psycopg[binary]")
"""What the environment of the shop had before."""

HEAD = """
import django, json
django.setup()
def tell(found): print("TOLD", json.dumps(found, default=str))
"""


class Shop:
    """The folder of the project, its environment, and the processes that it has running."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.folder = home / "site"
        self.environment = environment
        self._home = home
        self._running = ExitStack()

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A program of the environment, in the folder of the project."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(120),
        )
        assert done.returncode == 0 or not check, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def manage(self, *words: str) -> str:
        """A command of `manage.py`, and what it said."""
        return self.run("python", "-W", "error", "manage.py", *words).stdout

    def python(self, code: str) -> Any:
        """Run code in the project; what it passes to `tell`."""
        said = self.run("python", "-c", HEAD + dedent(code)).stdout
        (told,) = [line[5:] for line in said.splitlines() if line.startswith("TOLD ")]
        return json.loads(told)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """A command of `manage.py` that goes on until the test ends."""
        log = self.log_of(*words)
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["python", "manage.py", *words],
                cwd=self.folder,
                env=self.environment,
                executable=self.environment["VIRTUAL_ENV"] + "/bin/python",
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.callback(_kill, process)
        return process

    def log_of(self, *words: str) -> Path:
        """Where a started command writes."""
        return self._home / f"{'-'.join(words).replace('/', '')}.log"

    def close(self) -> None:
        """End all processes."""
        self._running.close()


@contextmanager
def made(home: Path, postgres: str) -> Iterator[Shop]:
    """The shop as it is when the pages were followed."""
    redis = data_server(home, *free_ports(1))
    redis.start()
    url = f"redis://127.0.0.1:{redis.port}/0"
    shop = Shop(home, _environment(home, url, _database(home, postgres)))
    try:
        shutil.copytree(SITE, shop.folder)
        wheel = _wheel(home)
        reader = Walkthrough(shop.folder, shop.environment, {ON_PAGE: url, INSTALLED: f"{wheel}["})
        shop.run("python", "-m", "pip", "install", "-q", *HAD)
        _live_before(shop)
        reader.follow(HOWTO / "existing-project.md")
        reader.follow(HOWTO / "tenants.md")
        reader.close()
        yield shop
    finally:
        shop.close()
        redis.kill()


def _wheel(home: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(home)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=patient(60))
    (found,) = home.glob("*.whl")
    return found


def _environment(home: Path, redis: str, database: dict[str, Any]) -> dict[str, str]:
    """What the processes of the shop see: nothing of this checkout."""
    venv = home / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=patient(60))
    # The loader of settings of the tests' own project is not the shop's.
    own = ("DJANGO_", "DATABASE_URL", "PYTHON", "PSQ_", "PLUGSPACE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return kept | {
        "VIRTUAL_ENV": str(venv),
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "PYTHONUNBUFFERED": "1",
        # What nobody imports need not be compiled.
        "PIP_NO_COMPILE": "1",
        "SHOP_REDIS": redis,
        "SHOP_DATABASE": json.dumps(database),
    }


def _database(home: Path, postgres: str) -> dict[str, Any]:
    if not postgres:
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20}
        name = str(home / "shop.sqlite3")
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options}
    parts = urlsplit(postgres)
    with psycopg.connect(postgres.replace("postgres://", "postgresql://"), autocommit=True) as one:
        one.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        one.execute(f"CREATE DATABASE {DATABASE}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE,
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname or parse_qs(parts.query)["host"][0],
        "PORT": parts.port or "",
        "OPTIONS": {"prepare_threshold": 5},
    }


def _live_before(shop: Shop) -> None:
    """Users, a customer and a job that is still in its queue."""
    shop.manage("makemigrations", "shop")
    shop.manage("migrate", "-v", "0")
    shop.python(
        """
        import django_rq
        from shop import jobs, models
        company = models.Company.objects.create(name="Old customer")
        models.User.objects.create(email="ann@old.example", company=company)
        models.User.objects.create_superuser("root@shop.example", "x")
        job = django_rq.get_queue("mail").enqueue(jobs.send, {"b", "a"}, job_id="before")
        tell(job.id)
        """
    )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(condition: Any, message: str = "") -> Any:
    """As wait_until, for what processes of the shop do."""
    return wait_until(condition, 30, message)
