"""Calls of the queue manager by the load, and their answers; one line of a file each."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock

ACCEPTED, REFUSED, UNCLEAR = "accepted", "refused", "unclear"
"""Unclear: the answer got lost, so that it may have been stored all the same."""

LEAK = "LEAK"
"""First word of a code: what was raised is no error of the package."""


@dataclass
class Call:
    """One call. Its `name` is the user id of every task it makes."""

    name: str
    verb: str
    script: str = ""
    size: int = 0
    answer: str = UNCLEAR
    code: str = ""
    ids: list[str] = field(default_factory=list)
    at: float = 0.0
    ttl: int | None = None
    tries: int = 1


class Book:
    """Appends calls to a file, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()

    def note(self, call: Call) -> None:
        """Write it down at once."""
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps(asdict(call)) + "\n")


def read(path: Path) -> list[Call]:
    """All calls of a file."""
    return [Call(**json.loads(line)) for line in path.read_text().splitlines()]
