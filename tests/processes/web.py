"""The project's ASGI application under uvicorn in a process of its own, and clients of it."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugspace_queue import embedded_redis
from tests.support import child_environment, patient, wait_until


@dataclass
class Web:
    """A running server."""

    port: int
    process: "subprocess.Popen[bytes]"

    def rss(self) -> int:
        """Resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


@contextmanager
def serving(log: Path, **environment: str) -> Iterator[Web]:
    """uvicorn on a free port; it is gone when this ends."""
    port = _free_port()
    words = [sys.executable, "-m", "uvicorn", "project.asgi:application", "--port", str(port)]
    url = f"unix://{embedded_redis.socket_path()}?db=0"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*words, "--timeout-graceful-shutdown", "1", "--log-level", "warning"],
            env=child_environment(REDIS_URL=url, **environment),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _answers(port), 30, "uvicorn does not serve")
        yield Web(port, process)
    finally:
        process.kill()
        process.wait(timeout=patient(10))
        print(log.read_text(errors="replace")[-3000:])


def limits(
    *,
    streams: int = 1000,
    streams_per_organization: int = 1000,
    streams_per_key: int = 1000,
    reserved: float = 0.1,
) -> dict[str, str]:
    """The environment of a server with these limits."""
    told = {
        "MAX_STREAMS": streams,
        "MAX_STREAMS_PER_ORGANIZATION": streams_per_organization,
        "MAX_STREAMS_PER_KEY": streams_per_key,
        "STREAMS_RESERVED": reserved,
    }
    settings = "tests.processes.few_streams"
    return {"DJANGO_SETTINGS_MODULE": settings, "STREAM_LIMITS": json.dumps(told)}


@dataclass
class Stream:
    """One client that listens; `events` are (id, name, data)."""

    web: Web
    path: str
    key: str = ""
    cookie: str = ""
    last: str = ""
    events: list[tuple[str, str, Any]] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None
    _response: http.client.HTTPResponse | None = None

    def open(self) -> "http.client.HTTPResponse":
        self.close()
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", self.web.port, timeout=patient(10)
        )
        headers = {"Accept": "text/event-stream"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.cookie:
            headers["Cookie"] = f"sessionid={self.cookie}"
        if self.last:
            headers["Last-Event-ID"] = self.last
        self._connection.request("GET", f"/api/v1/{self.path}", headers=headers)
        self._response = self._connection.getresponse()
        return self._response

    @property
    def answer(self) -> "http.client.HTTPResponse":
        """What the server answered when the client came."""
        assert self._response is not None
        return self._response

    def close(self) -> None:
        for part in (self._response, self._connection):
            if part is not None:
                part.close()

    def line(self) -> str:
        """The next line as it stands on the wire."""
        assert self._response is not None
        return self._response.readline().decode().rstrip("\n")

    def take(self, count: int) -> list[str]:
        """Wait for so many events more; their names."""
        return [self.next()[1] for _ in range(count)]

    def next(self) -> tuple[str, str, Any]:
        """The next event, or ("", "", None) at the end of the stream."""
        told: dict[str, str] = {}
        assert self._response is not None
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if not text and "data" in told:
                break
            name, _, value = text.partition(": ")
            told[name] = value
        if "data" not in told:
            return "", "", None
        self.last = told.get("id", self.last)
        event = (told.get("id", ""), told["event"], json.loads(told["data"]))
        self.events.append(event)
        return event


class Crowd:
    """Many clients of one path in one thread; `opened` counts those whose stream has begun."""

    def __init__(self, port: int, path: str, key: str) -> None:
        self.opened = 0
        self._port = port
        self._head = (
            f"GET /api/v1/{path} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        )

    async def listen(self, until: str) -> list[str]:
        """The ids that one client gets, to the one whose data holds `until`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(self._head.encode())
            status = await reader.readline()
            assert b" 200 " in status, status
            await reader.readuntil(b"retry: ")
            self.opened += 1
            return await _ids(reader, until.encode())
        finally:
            writer.close()
            await writer.wait_closed()


async def _ids(reader: asyncio.StreamReader, until: bytes) -> list[str]:
    ids: list[str] = []
    while line := await reader.readline():
        if line.startswith(b"id: "):
            ids.append(line[4:].decode().strip())
        if line.startswith(b"data: ") and until in line:
            break
    return ids


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=patient(5)):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
