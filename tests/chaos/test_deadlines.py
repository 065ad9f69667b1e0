"""A task that stayed with a killed worker for too long is found, unless nobody could take it."""

from datetime import UTC, datetime

import pytest

from plugspace_queue.models import Attempt, Task
from tests.chaos.clocks import TAKEN_BACK_WITHIN
from tests.chaos.scene import NOW, Scene, ran

LATE = TAKEN_BACK_WITHIN + 1


@pytest.mark.parametrize(
    ("took", "others", "fault", "is_late"),
    [
        (LATE, (-60, 60), None, True),
        (LATE - 2, (-60, 60), None, False),
        # Its only witness is too new, dies itself, or stands still.
        (LATE, (0, 60), None, False),
        (LATE, (-60, 3), None, False),
        (LATE, (-60, 60), ("SIGSTOP", "w2", 2, 5), False),
        (LATE, (-60, 60), ("SIGSTOP", "w3", 2, 5), True),
        # The time begins when Redis is back.
        (LATE, (-60, 60), ("Redis restart", "killed", 2, 5), False),
        (LATE + 5, (-60, 60), ("Redis restart", "killed", 2, 5), True),
    ],
)
def test_a_task_of_a_killed_worker_that_is_taken_back_late_is_found(
    scene: Scene,
    took: float,
    others: tuple[float, float],
    fault: tuple[str, str, float, float] | None,
    is_late: bool,
):
    task = ran(scene)
    killed_with_worker(task, NOW + took)
    scene.beats(task, 1, "w1", -1, 0)
    scene.fault("SIGKILL", "w1 (process)", 0, 0)
    if fault is not None:
        scene.fault(*fault)
    scene.lives = [{"worker": "w2", "began": NOW + others[0], "ended": NOW + others[1]}]

    assert scene.found() == ([("recovery", str(task.pk))] if is_late else [])


def killed_with_worker(task: Task, taken_back_at: float) -> None:
    """Its attempt becomes the second one; the first was lost with its worker."""
    Task.objects.filter(pk=task.pk).update(attempt_count=2)
    Attempt.objects.filter(task=task).update(number=2)
    moment = datetime.fromtimestamp(taken_back_at, UTC)
    Attempt.objects.create(
        task=task, number=1, fence=1, started_at=moment, ended_at=moment, outcome="lost"
    )
