"""What is wrong with a setting for Sentinels is said before a worker starts."""

from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from plugspace_queue.broker.checks import server_keeps_what_it_is_given
from plugspace_queue.conf import parse_sentinels, rq_settings

# Django's own checks ask SQLite whether it knows JSON.
pytestmark = pytest.mark.django_db


def found() -> dict[str | None, str]:
    return {message.id: message.msg for message in checks.run_checks()}


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a:1/queue", [("a", 1)]),
        ("a:1, b:2 ,c:3/queue", [("a", 1), ("b", 2), ("c", 3)]),
        ("[::1]:26379,10.0.0.1:26379/queue", [("::1", 26379), ("10.0.0.1", 26379)]),
    ],
)
def test_hosts_and_service_are_read(text: str, hosts: list[tuple[str, int]]) -> None:
    assert parse_sentinels(text) == (hosts, "queue")


@pytest.mark.parametrize(
    "text",
    [
        "a:1",
        "a:1/",
        "/queue",
        "a/queue",
        ":1/queue",
        "a:1,/queue",
        "a:0/queue",
        "a:65536/queue",
        "a:-1/queue",
        "a:x/queue",
        "::1:26379/queue",
        "a b:1/queue",
        "redis://a:1/queue",
        "user@a:1/queue",
        "a:1/queue/0",
        "a:1/queue,b:2/queue",
    ],
)
def test_what_names_no_sentinels_is_refused_with_the_form_that_does(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"host:port,host:port/service.*not '"):
        parse_sentinels(text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"SENTINELS": []}, "SENTINELS is []"),
        ({"SENTINELS": "a:1"}, "SENTINELS is 'a:1'"),
        ({"SENTINELS": ["a:1"]}, "SENTINELS is ['a:1']"),
        ({"SENTINELS": [("a", 0)]}, "SENTINELS is [('a', 0)]"),
        ({"SENTINELS": [("a", None)]}, "SENTINELS is [('a', None)]"),
        ({"MASTER_NAME": ""}, "MASTER_NAME is missing"),
        ({"MASTER_NAME": None}, "MASTER_NAME is missing"),
    ],
)
def test_an_entry_that_finds_no_primary_is_an_error(
    settings: Any, change: dict[str, Any], told: str
) -> None:
    settings.RQ_QUEUES, settings.RQ = rq_settings(sentinels="a:1/queue")
    settings.RQ_QUEUES["code"] |= change

    message = found()["psq.E012"]

    assert message.startswith(f"RQ_QUEUES['code']: {told}")


def test_an_entry_without_a_service_is_an_error_and_no_traceback(settings: Any) -> None:
    settings.RQ_QUEUES, settings.RQ = rq_settings(sentinels="a:1/queue")
    del settings.RQ_QUEUES["code"]["MASTER_NAME"]

    assert "psq.E012" in found()


def test_redis_pys_own_connections_to_sentinel_are_warned_of(settings: Any) -> None:
    settings.RQ_QUEUES, settings.RQ = rq_settings(sentinels="a:1/queue")
    assert "psq.W004" not in found()

    settings.RQ_QUEUES["code"]["CONNECTION_KWARGS"] = {}

    assert "hang" in found()["psq.W004"]


@pytest.mark.slow
def test_a_service_that_no_sentinel_knows_is_told_by_the_deployment_check(
    sentinel_trio: Any, settings: Any
) -> None:
    hosts, _ = sentinel_trio.setting.split("/")
    settings.RQ_QUEUES, _ = rq_settings(sentinels=f"{hosts}/nobody")

    (message,) = server_keeps_what_it_is_given(None)

    assert (message.id, "No master found for 'nobody'" in message.msg) == ("psq.W003", True)
