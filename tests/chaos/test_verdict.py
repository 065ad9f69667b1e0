"""The verdict of a chaos run finds what was broken on purpose, and nothing in a sound run."""

import time
from pathlib import Path

import pytest
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.models import Attempt, MonthlyUsage, QueueSettings, Task
from tests.chaos import calls, journal
from tests.chaos.clocks import LEASE, LONGEST_OVERLAP
from tests.chaos.scene import NOW, Scene, ran


def test_a_sound_run_has_no_violation(scene: Scene):
    task = ran(scene)
    cancelled = scene.submit("call-2")
    queue_manager.cancel(cancelled.pk)
    scene.note("call-3", verb="cancel", size=0, ids=[str(cancelled.pk)])
    scene.note("call-4", answer="refused", code="QUOTA_EXCEEDED")
    scene.note("call-5", answer="unclear", code="UNAVAILABLE")
    scene.beats(task, 1, "w1", 0, 0.1)
    scene.beats(task, 2, "w2", 0.2, 0.3)

    assert scene.found() == []


def test_a_task_that_is_lost_is_found(scene: Scene):
    task = ran(scene)
    Task.objects.filter(pk=task.pk).delete()

    assert ("lost", str(task.pk)) in scene.found()


def test_a_task_that_does_not_end_is_found(scene: Scene):
    task = scene.submit("call-1")

    found = scene.found()

    assert ("not ended", str(task.pk)) in found
    assert ("left in Redis", "") in found


def test_a_call_that_made_two_tasks_is_found(scene: Scene):
    ran(scene)
    ran(scene)

    assert {kind for kind, _ in scene.found()} == {"not once"}


def test_a_refused_call_that_stored_a_task_is_found(scene: Scene):
    task = ran(scene)
    scene.note("call-1", answer="refused")

    assert ("not once", str(task.pk)) in scene.found()


def test_a_second_outcome_is_found(scene: Scene):
    task = ran(scene)
    (attempt,) = Attempt.objects.filter(task=task)
    attempt.pk, attempt.fence = None, attempt.fence + 1
    attempt.save(force_insert=True)

    assert ("outcome", str(task.pk)) in scene.found()


def test_an_outcome_that_is_not_the_rows_is_found(scene: Scene):
    task = ran(scene)
    Attempt.objects.filter(task=task).update(outcome="failed")

    assert ("outcome", str(task.pk)) in scene.found()


def test_an_attempt_without_an_end_is_found(scene: Scene):
    task = ran(scene)
    Task.objects.filter(pk=task.pk).update(attempt_count=2)

    assert ("attempts", str(task.pk)) in scene.found()


def test_work_that_fails_is_found(scene: Scene):
    task = ran(scene, script="fail-0")

    assert ("ending", str(task.pk)) in scene.found()


@pytest.mark.parametrize("wrong", [{"used": 2}, {"used": 0}])
def test_a_counter_that_is_not_charged_minus_refunded_is_found(scene: Scene, wrong: dict[str, int]):
    ran(scene)
    MonthlyUsage.objects.update(**wrong)

    assert scene.found() == [("ledger", "")]


def test_a_task_that_was_not_charged_is_found(scene: Scene):
    ran(scene)
    queue_manager.set_organization("birch", tier="professional")
    Task.objects.update(organization_id="birch")

    assert scene.found() == [("ledger", ""), ("ledger", "")]


def test_a_refund_that_is_owed_or_wrong_is_found(scene: Scene):
    task = ran(scene)
    Task.objects.filter(pk=task.pk).update(refunded_at=task.queued_at)

    assert ("refund", str(task.pk)) in scene.found()


def test_lifetime_counts_that_missed_an_ending_are_found(scene: Scene):
    ran(scene)
    QueueSettings.objects.update(completed=0)

    assert scene.found() == [("counts", "")]


def test_a_lease_that_is_left_is_found(scene: Scene, redis: Redis):
    task = ran(scene)
    redis.zadd(keys.lease("architect"), {str(task.pk): 1})

    assert scene.found() == [("left in Redis", "")]


def test_a_snapshot_that_lies_is_found(scene: Scene, redis: Redis):
    task = ran(scene)
    redis.set(keys.task(str(task.pk)), f'{{"id": "{task.pk}", "state": "processing"}}')

    assert scene.found() == [("snapshot", str(task.pk))]


def test_an_overlap_without_a_fault_is_found(scene: Scene):
    task = ran(scene)
    scene.beats(task, 1, "w1", 0, 0.5, 1)
    scene.beats(task, 2, "w2", 0.8, 1.2)
    scene.fault("SIGKILL", "w1", -1, -1)
    scene.fault("SIGSTOP", "w2", -1, 0.5)

    assert scene.found() == [("overlap", str(task.pk))]


@pytest.mark.parametrize(
    ("name", "target"), [("FLUSHALL", ""), ("Redis restart", "killed"), ("SIGSTOP", "w1")]
)
def test_an_overlap_within_lease_bounds_of_a_fault_is_none(scene: Scene, name: str, target: str):
    task = ran(scene)
    scene.beats(task, 1, "w1", 0, 1, 2, 3, 4)
    scene.beats(task, 2, "w2", 3, 4, 5)
    scene.fault(name, target, 1, 2)

    assert scene.found() == []


def test_an_overlap_long_after_a_fault_is_found(scene: Scene):
    task = ran(scene)
    late = 2 + LONGEST_OVERLAP
    scene.beats(task, 1, "w1", *range(int(late) + 3))
    scene.beats(task, 2, "w2", 3, *range(4, int(late) + 3))
    scene.fault("FLUSHALL", "", 1, 1)

    assert scene.found() == [("overlap", str(task.pk))]


def test_a_worker_without_processor_time_explains_an_overlap(scene: Scene):
    task = ran(scene)
    scene.beats(task, 1, "w1", 0, LEASE + 1)
    scene.beats(task, 2, "w2", LEASE, LEASE + 2)

    assert scene.found() == []


@pytest.mark.parametrize(
    ("code", "trouble", "lived", "is_wrong"),
    [
        (1, "", 90, True),
        (-9, "", 90, True),
        (-9, "did not stop", 90, True),
        (1, "SIGTERM", 90, True),
        (-15, "SIGTERM", 90, True),
        (0, "SIGTERM", 90, False),
        (-9, "SIGKILL", 90, False),
        (1, "", 3, False),
        (-15, "SIGTERM", 3, False),
        (-11, "", 3, True),
    ],
)
def test_a_worker_that_ends_otherwise_than_told_is_found(
    scene: Scene, code: int, trouble: str, lived: float, is_wrong: bool
):
    """One that starts while a server is away may give up: its supervisor starts another."""
    scene.fault("Redis restart", "killed", -2, 1)
    scene.note("call-1", size=0, verb="cancel", answer="refused", ids=["x"])
    scene.departures = [
        {"worker": "w1", "at": NOW, "code": code, "trouble": trouble, "took": 1, "lived": lived}
    ]

    assert scene.found() == ([("worker", "")] if is_wrong else [])


@pytest.mark.parametrize(("frozen_until", "is_wrong"), [(-12, False), (-16, True)])
def test_a_worker_that_stood_still_was_starting_for_longer(
    scene: Scene, frozen_until: float, is_wrong: bool
):
    scene.fault("SIGSTOP", "w1", -17, frozen_until)
    scene.fault("Redis restart", "killed", -2, 1)
    scene.note("call-1", size=0, verb="cancel", answer="refused", ids=["x"])
    scene.departures = [
        {"worker": "w1", "at": NOW, "code": 1, "trouble": "", "took": 1, "lived": 23}
    ]

    assert scene.found() == ([("worker", "")] if is_wrong else [])


def test_a_drivers_error_at_the_front_door_is_found(scene: Scene):
    scene.note("call-1", answer="unclear", code=f"{calls.LEAK} OperationalError: gone")

    assert scene.found() == [("leak", "")]


def test_what_a_killed_execution_wrote_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "journal"
    monkeypatch.setenv(journal.PATH, str(path))
    monkeypatch.setenv(journal.WORKER, "w1")
    journal._file.cache_clear()
    before = time.time()

    with journal.execution("done", 1) as pen:
        pen.write("beat")
    journal.Pen("killed", 2).write("begin")
    journal._file.cache_clear()

    done, killed = journal.read(path, LEASE)
    assert (done.ended, done.key.task_id, done.key.worker) == (True, "done", "w1")
    assert (killed.ended, killed.key.number) == (False, 2)
    assert before - 1 < done.began <= done.seen <= killed.began
