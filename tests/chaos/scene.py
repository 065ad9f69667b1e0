"""A run in small for the tests of the verdict: calls, tasks that have run, a journal of them."""

from pathlib import Path

from plugspace_queue import queue_manager
from plugspace_queue.models import Task
from plugspace_queue.testing import processors, run_pending
from tests.chaos import evidence, verdict
from tests.chaos.calls import Book, Call
from tests.factories import INPUTS

NOW = 1_000_000.0


class Scene:
    """A run in small: calls that are noted, tasks that have run, a journal of them."""

    def __init__(self, folder: Path) -> None:
        self._calls, self._journal = folder / "calls", folder / "journal"
        self._book = Book(self._calls)
        self.injected: list[dict[str, object]] = []
        self.departures: list[dict[str, object]] = []
        self.lives: list[dict[str, object]] = []

    def submit(self, name: str, script: str = "work-0", **told: object) -> Task:
        """A task that is accepted, and noted as that."""
        task = queue_manager.add_task(
            "ARCHITECT",
            project_id=script,
            user_id=name,
            organization_id="acme",
            input=INPUTS["ARCHITECT"],
        )
        self.note(name, ids=[str(task.pk)], **told)
        return task

    def note(self, name: str, **told: object) -> None:
        """A call and its answer."""
        self._book.note(Call(name, **{"verb": "single", "size": 1, "answer": "accepted"} | told))

    def beats(self, task: Task, number: int, worker: str, *moments: float) -> None:
        """Lines of one execution."""
        with self._journal.open("a") as file:
            for moment in moments:
                file.write(f"{NOW + moment:.4f} {task.pk} {number} {worker} 7 beat\n")

    def fault(self, name: str, target: str, began: float, ended: float) -> None:
        """A fault that was injected."""
        self.injected.append(
            {"name": name, "target": target, "began": NOW + began, "ended": NOW + ended}
        )

    def found(self) -> list[tuple[str, str]]:
        """Kind and task of each violation."""
        told = {
            "injected": self.injected,
            "departures": self.departures,
            "lives": self.lives,
        }
        seen = evidence.gather(self._calls, self._journal, told)
        return [(one.kind, one.task_id) for one in verdict.violations(seen)]


def ran(scene: Scene, name: str = "call-1", script: str = "work-0") -> Task:
    """A task that was accepted and completed."""
    task = scene.submit(name, script)
    with processors({"ARCHITECT": lambda context: {}}):
        run_pending("ARCHITECT")
    return task
