"""Many clients of one event stream in a process of its own; counts the events each one got.

Run as `python -m tests.prove.crowd <port> <path> <key> <clients> <events>`; prints `opened` when
all streams have begun, and one line of JSON when all have so many events, or have ended.
"""

import asyncio
import json
import sys
from collections import Counter

EVENT = b"\nevent: task"
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""The end of an answer in chunks; a server may keep the connection for some seconds more."""


class Client:
    """One connection; counts events without parsing them, so that the server is the bottleneck."""

    def __init__(self) -> None:
        self.count = 0
        self.status = b""
        self.ended = ""
        self._said = b""

    async def open(self, port: int, path: str, key: str) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(
            f"GET /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        self.status = (await self._reader.readline()).strip()
        if b" 200 " in self.status:
            await self._reader.readuntil(b"retry: 2000\n\n")

    async def listen(self, events: int) -> None:
        tail = b""
        while self.count < events:
            found = await self._reader.read(1 << 18)
            text = tail + found
            self.count += text.count(EVENT)
            # The part of a name that was cut is counted with what follows.
            tail = text[-len(EVENT) + 1 :]
            self._said = (self._said + found)[-64:]
            # No event ends like this: a line break in its data is escaped.
            if not found or self._said.endswith(LAST_CHUNK):
                self.ended = self._said.decode(errors="replace")
                break
        self._writer.close()


async def main(port: int, path: str, key: str, clients: int, events: int) -> None:
    crowd = [Client() for _ in range(clients)]
    for start in range(0, clients, 50):
        await asyncio.gather(*(c.open(port, path, key) for c in crowd[start : start + 50]))
    statuses = Counter(c.status.decode() for c in crowd)
    print("opened", json.dumps(statuses), flush=True)
    await asyncio.gather(*(c.listen(events) for c in crowd))
    counts = Counter(c.count for c in crowd)
    print(json.dumps({"counts": counts, "ended": sorted({c.ended for c in crowd})}), flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(main(int(words[0]), words[1], words[2], int(words[3]), int(words[4])))
