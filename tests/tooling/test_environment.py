"""The demo project's variables: read right, or refused with a sentence that says what to set."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from project import caching, environment, safety

OURS = ("DATABASE_URL", "REDIS_URL", "SENTINELS", "SECRET_KEY", "DEBUG", "ALLOWED_HOSTS")
OURS += ("INSECURE_COOKIES", "HSTS_SECONDS", "LOG_FORMAT", "LOG_LEVEL")
KEY = "long, random and of 32 characters"


def read_settings(**variables: str) -> subprocess.CompletedProcess[str]:
    code = "import project.settings as s; print(s.DATABASES['default']['NAME'], s.RQ_QUEUES)"
    return run_python(code, **variables)


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_sqlite_file_is_opened_for_many_processes():
    database = environment.database("sqlite:////srv/data/db.sqlite3")

    assert database["NAME"] == "/srv/data/db.sqlite3"
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]


def test_three_slashes_name_a_relative_sqlite_file():
    assert environment.database("sqlite:///var/a.db")["NAME"] == "var/a.db"


def test_a_postgres_url_is_taken_apart_and_unquoted():
    database = environment.database("postgres://me:p%40ss@db.example:5433/queue?sslmode=require")

    told = [database[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME", "OPTIONS")]
    options = {"sslmode": "require", "prepare_threshold": 5}
    assert told == ["me", "p@ss", "db.example", "5433", "queue", options]


def test_a_postgres_socket_directory_stands_in_the_query():
    database = environment.database("postgresql://me@/queue?host=/run/postgresql&pool=true")

    assert (database["HOST"], database["PORT"]) == ("/run/postgresql", "")
    assert database["OPTIONS"] == {"pool": True, "prepare_threshold": 5}


@pytest.mark.parametrize(("asked", "meant"), [("0", None), ("3", 3)])
def test_statements_that_postgres_keeps_planned_can_be_turned_off_for_a_pooler(asked, meant):
    database = environment.database(f"postgres://db/queue?prepare_threshold={asked}")

    assert database["OPTIONS"] == {"prepare_threshold": meant}


@pytest.mark.parametrize(
    "url",
    ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "postgres://host", "postgres://h:x/n"],
)
def test_a_database_url_that_cannot_work_is_refused(url: str):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        environment.database(url)


@pytest.mark.parametrize(("text", "meant"), [("1", True), ("Yes", True), ("0", False), ("", False)])
def test_a_flag_is_read_in_any_usual_spelling(text: str, meant: bool):
    assert environment.flag({"DEBUG": text}, "DEBUG", default=True) is meant


def test_a_flag_that_is_neither_is_refused():
    with pytest.raises(ImproperlyConfigured, match="DEBUG"):
        environment.flag({"DEBUG": "perhaps"}, "DEBUG", default=True)


@pytest.mark.parametrize(
    ("variables", "cookies", "seconds"),
    [
        ({"DEBUG": "1"}, "False False", "0"),
        ({}, "True True", "0"),
        ({"HSTS_SECONDS": "3600"}, "True True", "3600"),
        ({"INSECURE_COOKIES": "1"}, "False False", "0"),
    ],
)
def test_production_sends_its_cookies_over_tls_only(
    variables: dict[str, str], cookies: str, seconds: str
):
    code = (
        "import project.settings as s;"
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS)"
    )
    production = {
        "DEBUG": "0",
        "SECRET_KEY": KEY,
        "ALLOWED_HOSTS": "example.org",
        "REDIS_URL": "redis://redis.example",
    }

    done = run_python(code, **production | variables)

    assert done.stdout.strip() == f"{cookies} {seconds}", done.stderr


@pytest.mark.parametrize("text", ["a year", "-1", "1.5"])
def test_a_number_that_is_none_is_refused(text: str):
    with pytest.raises(ImproperlyConfigured, match="HSTS_SECONDS"):
        environment.number({"HSTS_SECONDS": text}, "HSTS_SECONDS")


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://cache.example:6379", "redis://cache.example:6379/1"),
        ("redis://:pw@cache.example/0?ssl=1", "redis://:pw@cache.example/1?ssl=1"),
        ("redis://cache.example/1", "redis://cache.example/0"),
        ("redis://cache.example/0?db=1", "redis://cache.example/0"),
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=1"),
        ("unix://me:pw@/run/redis.sock?db=1", "unix://me:pw@/run/redis.sock?db=0"),
    ],
)
def test_the_cache_never_shares_the_database_of_the_queue(url: str, location: str):
    assert caching.caches(url=url, sentinels=None)["default"]["LOCATION"] == location


def test_the_cache_finds_its_server_through_the_sentinels():
    cache = caching.caches(url=None, sentinels="a:26379,b:26380/queue")["default"]

    assert cache["LOCATION"] == ["redis://queue/1"]
    assert cache["OPTIONS"]["SENTINELS"] == [("a", 26379), ("b", 26380)]


def test_without_any_variable_sqlite_and_the_embedded_server_are_used():
    done = read_settings()

    assert done.returncode == 0, done.stderr
    assert "var/db.sqlite3" in done.stdout
    assert "UNIX_SOCKET_PATH" in done.stdout


@pytest.mark.parametrize("missing", ["SECRET_KEY", "ALLOWED_HOSTS", "REDIS_URL"])
def test_production_names_the_variable_that_is_missing(missing: str):
    variables = {
        "DEBUG": "0",
        "SECRET_KEY": KEY,
        "ALLOWED_HOSTS": "example.org",
        "REDIS_URL": "redis://redis.example",
    }
    del variables[missing]

    done = read_settings(**variables)

    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert "ImproperlyConfigured: DEBUG is off, so: Set " + missing in last_line


@pytest.mark.parametrize(
    "key",
    [
        *("k" * 32, "abcd" * 16, KEY[:31], "é" * 31, " " * 40, f"{KEY[:20]}{' ' * 20}"),
        safety.DEVELOPMENT_KEY,
    ],
)
def test_production_refuses_a_key_that_could_be_guessed_and_does_not_repeat_it(key: str):
    done = read_settings(
        DEBUG="0", SECRET_KEY=key, ALLOWED_HOSTS="example.org", REDIS_URL="redis://redis.example"
    )

    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert (
        "DEBUG is off, so: Set SECRET_KEY to a random text of at least 32 characters" in last_line
    )
    assert key not in last_line


def test_a_key_of_32_characters_is_long_enough_and_development_needs_none():
    long_enough = read_settings(
        DEBUG="0",
        SECRET_KEY=KEY[:32],
        ALLOWED_HOSTS="example.org",
        REDIS_URL="redis://redis.example",
    )

    assert long_enough.returncode == 0, long_enough.stderr
    assert read_settings(DEBUG="1", SECRET_KEY="k").returncode == 0


def test_production_runs_when_everything_is_named():
    done = read_settings(
        DEBUG="0", SECRET_KEY=KEY, ALLOWED_HOSTS="example.org", REDIS_URL="redis://redis.example"
    )

    assert done.returncode == 0, done.stderr
    assert "redis://redis.example" in done.stdout


def test_the_embedded_server_can_be_forced_in_production():
    done = read_settings(
        DEBUG="0", SECRET_KEY=KEY, ALLOWED_HOSTS="example.org", PLUGSPACE_EMBEDDED="force"
    )

    assert done.returncode == 0, done.stderr


def test_other_hosts_are_not_served_with_a_forgotten_debug():
    forgotten = read_settings(ALLOWED_HOSTS="example.org")
    meant = read_settings(ALLOWED_HOSTS="example.org", DEBUG="1")
    alone = read_settings(ALLOWED_HOSTS="localhost,127.0.0.1")

    assert forgotten.returncode == 1
    assert "set DEBUG=0" in forgotten.stderr
    assert (meant.returncode, alone.returncode) == (0, 0)


def test_what_breaks_in_production_is_told_to_the_console():
    code = "import django, logging; django.setup(); logging.getLogger('django').error('it broke')"
    done = run_python(
        code, DEBUG="0", SECRET_KEY=KEY, ALLOWED_HOSTS="example.org", PLUGSPACE_EMBEDDED="force"
    )

    assert done.stderr.count("it broke") == 1
