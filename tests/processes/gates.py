"""Tasks for the processors of tests/processes/gated, and what the test and they say by files."""

from pathlib import Path

from plugspace_queue.models import Task
from tests.support import wait_until
from tests.worker.conftest import submit

SETTINGS = "tests.processes.gated_settings"


class Gates:
    """A directory of files: what is open, and what processors have seen."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory

    def open(self, name: str) -> None:
        (self.directory / name).touch()

    def seen(self, name: str) -> list[str]:
        path = self.directory / f"{name}.seen"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def until_seen(self, name: str, word: str) -> None:
        wait_until(lambda: word in self.seen(name), 20, f"{name} saw {self.seen(name)}, not {word}")


def task_of(kind: str, step: str, name: str) -> Task:
    """A task whose processor does that step with that gate; it is never retried."""
    given = {"input": {"url": "https://example.com"}} if kind == "ANALYZE" else {}
    context = {"userFeedback": [f"{step} {name}"]}
    return submit(kind, context=context, max_retries=0, **given)
