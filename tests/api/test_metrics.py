"""Who may see the figures of all organizations."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from plugspace_queue.api import metrics
from plugspace_queue.types import Scope
from tests.api.conftest import ApiClient

pytestmark = pytest.mark.django_db

PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


@pytest.fixture(autouse=True)
def made_anew() -> None:
    metrics.forget()


def test_nobody_sees_them_without_credentials(settings: Any):
    settings.PLUGSPACE_QUEUE = {"METRICS_TOKEN": "secret"}

    for client in (Client(), Client(headers={"Authorization": "Bearer wrong"})):
        told = client.get("/metrics", headers={"Accept": PROMETHEUS})
        assert (told.status_code, told.json()["code"]) == (401, "AUTHENTICATION_ERROR")


def test_an_empty_token_opens_nothing():
    assert Client(headers={"Authorization": "Bearer "}).get("/metrics").status_code == 401


def test_staff_and_keys_that_operate_see_them(
    staff: ApiClient, key_of: Callable[..., ApiClient], member_of: Callable[..., ApiClient]
):
    reader = key_of("acme", Scope.READ, Scope.SUBMIT)

    assert staff.get("/metrics").status_code == 200
    assert key_of("acme", Scope.OPERATE).get("/metrics").status_code == 200
    assert reader.get("/metrics").json()["code"] == "PERMISSION_DENIED"
    assert member_of("acme").get("/metrics").status_code == 403


def test_the_token_of_the_settings_opens_them_and_nothing_else(settings: Any):
    settings.PLUGSPACE_QUEUE = {"METRICS_TOKEN": "secret"}
    scraper = Client(headers={"Authorization": "Bearer secret"})

    told = scraper.get("/metrics", headers={"Accept": PROMETHEUS})

    assert told.status_code == 200
    assert told["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE plugspace_wait_seconds histogram" in told.content.decode()
    assert scraper.get("/api/v1/tasks/").status_code == 401
