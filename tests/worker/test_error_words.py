"""What an exception of a processor is called, and which of its words reach whom."""

import json
import smtplib
import socket
import ssl
import urllib.error
from typing import Any

import pytest
import requests
from django.contrib.auth import get_user_model
from django.test import Client
from redis import Redis

from plugspace_queue import errors, queue_manager, signals
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import Scope
from plugspace_queue.domain.public_text import public_text
from plugspace_queue.models import ApiKey, Organization, Task
from tests.worker.conftest import fresh, submit

pytestmark = pytest.mark.usefixtures("acme")

EXTERNAL = [
    OSError("the disk"),
    ConnectionError("away"),
    BrokenPipeError("broken"),
    TimeoutError("slow"),
    socket.gaierror(-2, "Name or service not known"),
    ssl.SSLError("handshake"),
    FileNotFoundError(2, "No such file or directory", "x"),
    PermissionError(13, "Permission denied"),
    urllib.error.URLError("no route"),
    requests.ConnectionError("refused"),
    requests.Timeout("slow"),
    smtplib.SMTPServerDisconnected("gone"),
]


def run_one(processors: Any, work: Any, raised: BaseException) -> Task:
    """A task whose processor raises this, after one attempt."""

    def architect(context: Any) -> Any:
        raise raised

    processors("ARCHITECT", architect)
    task = submit()
    work("architect")
    return fresh(task)


@pytest.mark.parametrize("raised", EXTERNAL, ids=lambda one: type(one).__name__)
def test_what_the_machine_or_the_network_did_is_an_external_service_error(processors, work, raised):
    row = run_one(processors, work, raised)

    assert (row.state, row.error["code"]) == ("retrying", "EXTERNAL_SERVICE_ERROR")
    assert row.error["retryable"] is True


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("httpx", "TransportError"),
        ("aiohttp.client_exceptions", "ClientConnectionError"),
        ("urllib3.exceptions", "HTTPError"),
    ],
)
def test_errors_of_clients_that_are_no_os_errors_are_known_by_name(processors, work, module, name):
    # As the libraries define them: one base class for all that happens to a connection.
    base = type(name, (Exception,), {"__module__": module})
    raised = type("ReadError", (base,), {"__module__": module})("reset")

    assert run_one(processors, work, raised).error["code"] == "EXTERNAL_SERVICE_ERROR"


def test_a_timeout_that_the_processor_says_itself_stays_one(processors, work):
    row = run_one(processors, work, errors.TaskTimeout("the model was slow"))

    assert (row.error["code"], row.error["message"]) == ("TIMEOUT", "the model was slow")


SECRETS = ("hunter2", "sk-abcdefghijklmnop1234", "/srv/app", "/home/ann", "C:\\Users", "s3cr3t")
WORDS = (
    "cannot read '/srv/app/keys of ann.pem' nor /home/ann/.netrc:7, C:\\Users\\ann\\x.txt;"
    " postgres://bob:hunter2@db/x password=hunter2 api_key: 's3cr3t word' sk-abcdefghijklmnop1234"
    " https://example.com/about?token=s3cr3t Authorization: Token s3cr3t"
)


def test_the_words_of_an_unknown_exception_reach_no_tenant_with_paths_or_secrets(
    processors, work, redis: Redis
):
    told: list[dict[str, Any]] = []

    def hear(payload: dict[str, Any], **kwargs: Any) -> None:
        told.append(payload)

    signals.task_failed.connect(hear)
    try:
        row = run_one(processors, work, ValueError(WORDS))
    finally:
        signals.task_failed.disconnect(hear)

    assert row.error["code"] == "INTERNAL_ERROR"
    _, secret = ApiKey.issue(Organization.objects.get(pk="acme"), [Scope.READ.value])
    tenant = Client(headers={"Authorization": f"Bearer {secret}"})
    snapshot = json.loads(redis.get(keys.task(str(row.pk))))["error"]
    events = [json.loads(fields[b"event"]) for _, fields in redis.xrange(keys.events())]
    failed = next(one for one in events if one["name"] == "taskFailed")
    texts = [
        tenant.get(f"/api/v1/tasks/{row.pk}/").content.decode(),
        tenant.get("/api/v1/tasks/").content.decode(),
        tenant.get(f"/api/v1/tasks/{row.pk}/explain/").content.decode(),
        tenant.get("/api/v1/organizations/acme/events/?since=0").content.decode(),
        snapshot["message"],
        json.dumps({name: text for name, text in snapshot.items() if name != "stack"}),
        json.dumps(failed),
        json.dumps(told[0]["error"]),
        queue_manager.explain(row.pk, "acme").sentence,
    ]
    for text in texts:
        assert [secret for secret in SECRETS if json.dumps(secret)[1:-1] in text] == [], text
    assert "cannot read" in snapshot["message"] and "https://example.com/about" in texts[0]


def test_staff_see_the_whole_message_in_the_admin(processors, work):
    row = run_one(processors, work, ValueError("cannot read /srv/app/keys.pem"))
    user = get_user_model().objects.create_superuser("root")
    client = Client()
    client.force_login(user)

    pages = [
        client.get(f"/admin/plugspace_queue/task/{row.pk}/change/"),
        client.get(f"/admin/plugspace_queue/attempt/{row.attempts.get().pk}/change/"),
    ]

    for page in pages:
        assert "cannot read /srv/app/keys.pem" in page.content.decode()


def test_what_a_processor_says_on_purpose_is_told_as_it_is(processors, work):
    row = run_one(processors, work, errors.ValidationFailed("there is no page /about/team"))

    assert row.error["message"] == "there is no page /about/team"
    assert "detail" not in row.error


def test_an_infrastructure_error_is_told_without_its_path_too(processors, work):
    row = run_one(processors, work, FileNotFoundError(2, "No such file", "/srv/app/x y.txt"))

    assert row.error["message"] == "[Errno 2] No such file: [path]"
    assert row.error["detail"] == "[Errno 2] No such file: '/srv/app/x y.txt'"


GOOGLE = "AIzaSyA-1234567890abcdefghijklmnopqrstuv"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow+/=\nabc==\n"
    "-----END RSA PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("5 of 7 and/or 1/2, see https://a.b/c/d?x=1", None),
        ("tokens: 512, maxTokens=4", None),
        ("in ./relative/path and a/b/c", None),
        ("file:///srv/x/y is gone", "[path] is gone"),
        ("at ~/x/y", "at [path]"),
        ("unix:///run/x.sock and 'sqlite:////srv/x.db'", "unix://[path] and 'sqlite://[path]'"),
        ('File "/srv/x y/z.py", line 3', "File [path], line 3"),
        ("PATH=/usr/bin:/bin", "PATH=[path]"),
        (r"\\server\share\x and D:/data/x", "[path] and [path]"),
        ('{"password": "a b", "n": 1}', '{"password": ••••, "n": 1}'),
        ("db_password=abc&x=1", "db_password=••••&x=1"),
        ("authorization: Token abc", "authorization: ••••"),
        ("key AKIAABCDEFGHIJKLMNOP", "key ••••"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "••••"),
        ("in ~bob/x and '~ann.lee/a b', about ~5/7", "in [path] and [path], about ~5/7"),
        (f"key {GOOGLE}, done", "key ••••, done"),
        ("glpat-AbCdEfGh_jKlMnOpQrS-.01.a2b3c4d5e is wrong", "•••• is wrong"),
        ("hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh", "••••"),
        (f"no key: {PEM}, so", "no key: ••••, so"),
        (f"private_key={PEM!r} x", "private_key=•••• x"),
        (f"cut {PEM[:-40]}", "cut ••••"),
        ("-----BEGIN----- and -----END-----", None),
    ],
)
def test_public_text_leaves_out_paths_and_secrets_and_nothing_else(text, public):
    assert public_text(text) == (text if public is None else public)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("at postgres://bob:p/w@db/x now", "at postgres://bob:••••@db/x now"),
        ("postgres://bob:p@ss@db/x", "postgres://bob:••••@db/x"),
        ("postgres://bob:$/p@/:ss@db:5432/x", "postgres://bob:••••@db:5432/x"),
        ("amqp://bob@example.org:p/w@mq", "amqp://bob@example.org:••••@mq"),
        ("redis://:p/w@cache, mysql://a:b@c", "redis://:••••@cache, mysql://a:••••@c"),
        ("a://u:x/y@h,b://v:z@i", "a://u:••••@h,b://v:••••@i"),
        ("see http://localhost:4873/@scope/page and http://[::1]:80/@x", None),
        ("mail bob@example.org or https://a.b/c:d@e", None),
    ],
)
def test_the_password_of_an_address_is_left_out_whatever_it_holds(text, public):
    assert public_text(text) == (text if public is None else public)
