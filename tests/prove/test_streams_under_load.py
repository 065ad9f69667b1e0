"""Other requests while 900 event streams are told of a bulk of 1,000 tasks, or are ended."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from plugspace_queue.models import ApiKey
from tests.factories import INPUTS, make_organization
from tests.processes.web import Web, limits, serving
from tests.support import patient, took

pytestmark = [
    pytest.mark.prove,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
]

STREAMS, TASKS = 900, 1000
ANSWERED, ENDED = 1.0, 5.0
"""Seconds within which a probe is answered, and what is revoked ends its streams."""


class Probes(threading.Thread):
    """Asks both probes again and again; `worst` is the longest answer of each in seconds."""

    def __init__(self, web: Web) -> None:
        super().__init__(daemon=True)
        self.worst = {"/healthz": 0.0, "/readyz": 0.0}
        self.statuses: set[int] = set()
        self._web = web
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.02):
            for path in self.worst:
                begun = time.monotonic()
                self.statuses.add(asked(self._web, "GET", path)[0])
                self.worst[path] = max(self.worst[path], time.monotonic() - begun)

    def stop(self) -> None:
        self._done.set()
        self.join()


def asked(web: Web, method: str, path: str, body: str = "", key: str = "") -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=patient(100))
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def probing(web: Web) -> Iterator[Probes]:
    probes = Probes(web)
    probes.start()
    try:
        yield probes
    finally:
        probes.stop()


@contextmanager
def crowd(web: Web, key: str) -> Iterator["subprocess.Popen[str]"]:
    """Clients whose streams have all begun; their process."""
    words = [str(web.port), "organizations/acme/events/", key, str(STREAMS), str(TASKS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.prove.crowd", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f'opened {{"HTTP/1.1 200 OK": {STREAMS}}}\n'
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: "subprocess.Popen[str]") -> Any:
    """What the clients counted when all had done."""
    return json.loads(process.communicate(timeout=patient(200))[0])


def bulk() -> str:
    one = {"type": "ARCHITECT", "projectId": "site", "input": INPUTS["ARCHITECT"]}
    return json.dumps({"tasks": [one] * TASKS})


def test_probes_are_answered_within_a_second_while_900_streams_are_told_of_1000_tasks(
    transactional_db: None, tmp_path: Path
):
    _, key = ApiKey.issue(make_organization("acme"), ["read", "submit"])
    with serving(tmp_path / "web.log", **limits()) as web, crowd(web, key) as clients:
        begun = time.monotonic()
        with probing(web) as probes:
            status, _ = asked(web, "POST", "/api/v1/tasks/bulk/", bulk(), key)
            submitted = time.monotonic() - begun
            found = told(clients)
        print(f"bulk {submitted:.2f} s, all told {time.monotonic() - begun:.2f} s")

    assert (status, probes.statuses) == (201, {200})
    assert found == {"counts": {str(TASKS): STREAMS}, "ended": [""]}
    for path, longest in probes.worst.items():
        took(longest, ANSWERED, f"{path} while 900 streams are told of a bulk of 1,000")


def test_a_revoked_key_ends_its_900_streams_within_five_seconds(
    transactional_db: None, tmp_path: Path
):
    row, key = ApiKey.issue(make_organization("acme"), ["read"])
    with serving(tmp_path / "web.log", **limits()) as web, crowd(web, key) as clients:
        begun = time.monotonic()
        with probing(web) as probes:
            ApiKey.objects.filter(pk=row.pk).update(revoked_at=timezone.now())
            found = told(clients)
        ended = time.monotonic() - begun

    assert found["counts"] == {"0": STREAMS}
    assert all('data: {"reason": "forbidden"}' in words for words in found["ended"])
    took(ended, ENDED, "900 streams end after their key is revoked")
    for path, longest in probes.worst.items():
        took(longest, ANSWERED, f"{path} while 900 streams are ended")
