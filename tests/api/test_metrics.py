"""Who may see the figures of all organizations."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from plugspace_queue import metrics as counts
from plugspace_queue.api import prometheus
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import Role, Scope
from tests.api.conftest import ApiClient

pytestmark = pytest.mark.django_db

PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


@pytest.fixture(autouse=True)
def made_anew() -> None:
    prometheus.forget()


def test_nobody_sees_them_without_credentials(settings: Any):
    settings.PLUGSPACE_QUEUE = {"METRICS_TOKEN": "secret"}

    for client in (Client(), Client(headers={"Authorization": "Bearer wrong"})):
        told = client.get("/metrics", headers={"Accept": PROMETHEUS})
        assert (told.status_code, told.json()["code"]) == (401, "AUTHENTICATION_ERROR")


def test_an_empty_token_opens_nothing():
    assert Client(headers={"Authorization": "Bearer "}).get("/metrics").status_code == 401


def test_staff_see_them_and_no_organization_whatever_it_may_do_of_its_own(
    staff: ApiClient, key_of: Callable[..., ApiClient], member_of: Callable[..., ApiClient]
):
    assert staff.get("/metrics").status_code == 200
    for caller in (key_of("acme", *Scope), member_of("acme", role=Role.ADMIN)):
        told = caller.get("/metrics")
        assert (told.status_code, told.json()["code"]) == (403, "PERMISSION_DENIED")


def test_workers_are_counted_whose_heartbeat_lives(staff: ApiClient, redis: Redis):
    redis.sadd("rq:workers", "rq:worker:alive", "rq:worker:dead")
    redis.hset("rq:worker:alive", "birth", "2026-01-01T00:00:00Z")

    assert "plugspace_workers 1\n" in staff.get("/metrics").content.decode()


def test_counts_of_another_version_and_a_key_that_is_no_hash_break_nothing(
    staff: ApiClient, redis: Redis
):
    redis.hset(keys.metrics(), "plugspace_tasks_added_total|CODE", 3)
    assert staff.get("/metrics").status_code == 200

    redis.set(keys.metrics(), "somebody else's")
    counts.count(counts.LISTENER_ERRORS)
    counts.flush()


def test_the_token_of_the_settings_opens_them_and_nothing_else(settings: Any):
    settings.PLUGSPACE_QUEUE = {"METRICS_TOKEN": "secret"}
    scraper = Client(headers={"Authorization": "Bearer secret"})

    told = scraper.get("/metrics", headers={"Accept": PROMETHEUS})

    assert told.status_code == 200
    assert told["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE plugspace_wait_seconds histogram" in told.content.decode()
    assert scraper.get("/api/v1/tasks/").status_code == 401
