"""A TCP proxy before the test's server that lets every answer come late."""

import asyncio
import contextlib
import threading
from typing import Any

from plugspace_queue import embedded_redis
from tests.servers import HOST


class Proxy:
    """Listens on `port` while it is entered; answers take `delay` seconds more."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, sink = await asyncio.open_unix_connection(embedded_redis.socket_path())
        ways = (self._carry(reader, sink, 0.0), self._carry(source, writer, self.delay))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(*ways)
        for end in (sink, writer):
            end.transport.abort()

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float
    ) -> None:
        while data := await source.read(65_536):
            await asyncio.sleep(delay)
            sink.write(data)
            await sink.drain()
        sink.write_eof()
