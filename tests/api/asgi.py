"""The project's ASGI application called in this process, so that each turn of its loop is seen."""

import asyncio
from collections.abc import Callable
from typing import Any

from django.core.asgi import get_asgi_application

from tests.support import patient

Heard = Callable[["Request", bytes], object]


class Request:
    """One GET; `status`, and `parts` of the body as the application hands them to the server."""

    def __init__(
        self,
        path: str,
        key: str = "",
        *,
        cookie: str = "",
        accept: str = "text/event-stream",
        heard: Heard | None = None,
    ) -> None:
        path, _, query = path.partition("?")
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.heard = heard
        self._has_asked = False
        self._gone = asyncio.Event()
        headers = [(b"host", b"testserver"), (b"accept", accept.encode())]
        if key:
            headers.append((b"authorization", f"Bearer {key}".encode()))
        if cookie:
            headers.append((b"cookie", f"sessionid={cookie}".encode()))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
        }
        self.task = asyncio.create_task(_application()(scope, self._receive, self._send))

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def hang_up(self) -> None:
        """The client goes away."""
        self._gone.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.headers |= {k.decode(): v.decode() for k, v in message.get("headers", [])}
        if part := message.get("body", b""):
            self.parts.append(part)
            if self.heard:
                self.heard(self, part)


async def until(condition: Callable[[], Any], *requests: Request) -> None:
    """Give the loop its turns until a condition holds; a request that failed raises."""
    async with asyncio.timeout(patient(30)):
        while not condition():
            for request in requests:
                if request.task.done():
                    request.task.result()
            await asyncio.sleep(0)


def _application() -> Any:
    return get_asgi_application()
