"""Fetches one address with the standard library, within limits of size, time and redirects."""

import contextlib
import functools
import http.client
import socket
import ssl
import threading
import time
import zlib
from dataclasses import dataclass
from urllib.parse import urljoin

import webencodings

from plugspace_queue.errors import (
    ExternalServiceError,
    RateLimited,
    TaskTimeout,
    ValidationFailed,
)
from project.agents.analysis.guard import Target, target_of
from project.agents.analysis.text import clean

MAX_BYTES = 2 * 1024 * 1024
MAX_REDIRECTS = 5
UTF8 = webencodings.UTF8
MAX_WAIT = 900.0
SECONDS = 15.0
AGENT = "plugspace-analyze/1.0"


@dataclass(frozen=True)
class Answer:
    """What came back: `sent` bytes over the wire, `body` after decompression, times in ms."""

    url: str
    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes
    sent: int
    ttfb_ms: float
    total_ms: float
    is_truncated: bool

    @property
    def media_type(self) -> str:
        """The media type without its parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @functools.cached_property
    def text(self) -> str:
        """The body as text, in the announced charset if the web knows it, else in UTF-8.

        Python knows more, `punycode` among them: its time grows with the square of the length.
        """
        _, _, given = self.headers.get("content-type", "").partition("charset=")
        charset = given.split(";")[0].strip(" \"'")[:40]
        text: str = webencodings.decode(self.body, webencodings.lookup(charset) or UTF8)[0]
        return text


class _Connection(http.client.HTTPConnection):
    """A connection to the resolved address, whatever the name resolves to by now."""

    def __init__(self, target: Target, deadline: float) -> None:
        super().__init__(target.host, target.port, timeout=_left(deadline))
        self._target = target
        self._wire: socket.socket | None = None

    def connect(self) -> None:
        sock = socket.create_connection((self._target.address, self._target.port), self.timeout)
        if self._target.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
        self.sock = self._wire = sock

    def abort(self) -> None:
        """End all reading and writing, from another thread."""
        if self._wire:
            with contextlib.suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)


def fetch(url: str, *, allow_private: bool = False, seconds: float = SECONDS) -> Answer:
    """Get an address, following redirects, each checked anew.

    Raises TaskTimeout, RateLimited (429), ExternalServiceError (5xx and broken connections) and
    ValidationFailed (4xx, addresses that may not be asked, redirects without end).
    """
    deadline = time.monotonic() + seconds
    for _ in range(MAX_REDIRECTS + 1):
        answer = _get(target_of(url, allow_private=allow_private), deadline)
        if answer.status not in (301, 302, 303, 307, 308) or "location" not in answer.headers:
            return _accepted(answer)
        url = urljoin(url, answer.headers["location"])
    raise ValidationFailed(f"The address redirects more than {MAX_REDIRECTS} times.")


def _accepted(answer: Answer) -> Answer:
    where = answer.url[:200]
    if answer.status == 429:
        raise RateLimited(f"{where} answered 429.", retry_after=_wait(answer.headers))
    if answer.status >= 500:
        raise ExternalServiceError(f"{where} answered {answer.status}.")
    if answer.status >= 400:
        raise ValidationFailed(f"{where} answered {answer.status}.")
    return answer


def _wait(headers: dict[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return min(float(text), MAX_WAIT) if text.isdigit() else None


def _get(target: Target, deadline: float) -> Answer:
    connection = _Connection(target, deadline)
    # A server that sends a byte a second must not keep us longer than one that is silent.
    watch = threading.Timer(_left(deadline), connection.abort)
    watch.daemon = True
    watch.start()
    try:
        return _exchange(connection, target, deadline)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            raise TaskTimeout(f"{target.host} did not answer in time.") from error
        raise ExternalServiceError(f"{target.host}: {error or type(error).__name__}") from error
    finally:
        watch.cancel()
        connection.close()


def _exchange(connection: _Connection, target: Target, deadline: float) -> Answer:
    started = time.monotonic()
    headers = {"User-Agent": AGENT, "Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "gzip"}
    connection.request("GET", _ascii(target.path), headers=headers)
    response = connection.getresponse()
    first = time.monotonic()
    raw, is_truncated = _read(response, deadline)
    given = {name.lower(): clean(value) for name, value in response.getheaders()}
    return Answer(
        url=target.url,
        status=response.status,
        headers=given,
        cookies=[clean(cookie) for cookie in response.msg.get_all("set-cookie") or []],
        body=_plain(raw, given.get("content-encoding", "")),
        sent=len(raw),
        ttfb_ms=round((first - started) * 1000, 1),
        total_ms=round((time.monotonic() - started) * 1000, 1),
        is_truncated=is_truncated,
    )


def _ascii(path: str) -> str:
    return "".join(c if "!" <= c <= "~" else "".join(f"%{b:02X}" for b in c.encode()) for c in path)


def _read(response: http.client.HTTPResponse, deadline: float) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BYTES:
        part = response.read1(64 * 1024)
        _left(deadline)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:MAX_BYTES], size > MAX_BYTES


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _plain(raw: bytes, encoding: str) -> bytes:
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return raw
    try:
        # Bounded: a few kilobytes may unpack to gigabytes.
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(raw, MAX_BYTES)
    except zlib.error as error:
        raise ExternalServiceError("The answer could not be unpacked.") from error
